import inspect
import subprocess
import sys

import pytest

import unrolled_client
from unrolled_client import AsyncClient, AsyncSession, AsyncStream, Client, Sampling, Session, Stream
from unrolled_client.wire import requests


def test_public_names_are_sorted_and_load() -> None:
    assert unrolled_client.__all__ == sorted(unrolled_client.__all__)
    assert set(unrolled_client.__all__) <= set(dir(unrolled_client))
    for name in unrolled_client.__all__:
        assert getattr(unrolled_client, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = unrolled_client.nothing


def test_the_documented_options_are_the_accepted_ones() -> None:
    accepted = set(inspect.signature(requests.generate).parameters) - {
        "prompt",
        "max_tokens",
        "session_id",
        "choices",
    }
    choices = set(Sampling.__dataclass_fields__)
    assert set(requests.GenerateOptions.__annotations__) == accepted | choices


@pytest.mark.parametrize(("sync", "other"), [(Client, AsyncClient), (Session, AsyncSession), (Stream, AsyncStream)])
def test_both_clients_have_the_same_surface(sync: type, other: type) -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, lambda member: callable(member) or isinstance(member, property))
        return {
            name: [] if isinstance(member, property) else list(inspect.signature(member).parameters)
            for name, member in members
            if not name.startswith("_")
        }

    assert surface(sync) == surface(other)


def test_importing_the_package_does_not_load_grpc() -> None:
    code = "import sys, unrolled_client; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

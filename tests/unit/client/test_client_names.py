import inspect
import subprocess
import sys
from typing import Any

import pytest

import unrolled_client
from unrolled_client import (
    AsyncClient,
    AsyncSession,
    AsyncSteps,
    AsyncStream,
    Client,
    Sampling,
    Session,
    Steps,
    Stream,
)
from unrolled_client.wire import options, requests, sequence_requests


def test_public_names_are_sorted_and_load() -> None:
    assert unrolled_client.__all__ == sorted(unrolled_client.__all__)
    assert set(unrolled_client.__all__) <= set(dir(unrolled_client))
    for name in unrolled_client.__all__:
        assert getattr(unrolled_client, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = unrolled_client.nothing


@pytest.mark.parametrize(
    ("documented", "build", "others"),
    [
        (options.GenerateOptions, requests.generate, {"prompt", "session_id"}),
        (options.WritingOptions, sequence_requests.transduce, {"source"}),
    ],
)
def test_the_documented_options_are_the_accepted_ones(documented: Any, build: Any, others: set[str]) -> None:
    accepted = set(inspect.signature(build).parameters) - {*others, "max_tokens", "choices"}
    choices = set(Sampling.__dataclass_fields__)
    assert set(documented.__annotations__) == accepted | choices


@pytest.mark.parametrize(
    ("sync", "other"), [(Client, AsyncClient), (Session, AsyncSession), (Stream, AsyncStream), (Steps, AsyncSteps)]
)
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

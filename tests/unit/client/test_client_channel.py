from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tests.unit.client.fake_server import FakeServer, running
from unrolled_client import channel, errors


def test_credentials_secure_the_channel(connect: Callable[..., Any]) -> None:
    with running(FakeServer(), grpc.local_server_credentials()) as fake:
        with connect(fake.target, credentials=grpc.local_channel_credentials()) as client:
            assert client.generate("x", max_tokens=3).read() == "abc"
        assert fake.requests


def test_channel_options_reach_the_channel(fake: FakeServer, connect: Callable[..., Any]) -> None:
    options = [("grpc.max_receive_message_length", 1)]
    with connect(fake.target, options=options) as client, pytest.raises(errors.ResourceExhausted):
        client.generate("x", max_tokens=3).read()


def test_options_of_the_caller_override_the_keepalive() -> None:
    merged = dict(channel.merge_options([("grpc.keepalive_time_ms", 5), ("grpc.primary_user_agent", "me")]))
    assert merged == {**dict(channel.DEFAULTS), "grpc.keepalive_time_ms": 5, "grpc.primary_user_agent": "me"}


def test_the_targets_are_the_given_ones_then_the_environments_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNROLLED_SERVER", "there:1, there:2")

    assert channel.resolve_targets("here:2") == ("here:2",)
    assert channel.resolve_targets("here:2,here:3,here:2") == ("here:2", "here:3")
    assert channel.resolve_targets(["unix:/a,b", "here:2"]) == ("unix:/a,b", "here:2")
    assert channel.resolve_targets(None) == ("there:1", "there:2")
    monkeypatch.delenv("UNROLLED_SERVER")
    assert channel.resolve_targets(None) == ("127.0.0.1:50051",)
    with pytest.raises(ValueError, match="names no server"):
        channel.resolve_targets(" , ")

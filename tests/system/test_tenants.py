"""Tenants on several servers with one store: a call about another's session touches nothing there."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.access import write_tokens
from tests.support.alphabet import greedy_text
from tests.support.redis import RedisServer, running_redis
from tests.support.server import running_server, wait_until
from tests.support.tenants import CALLS, Tenant, unknown_like
from unrolled.v1 import generation_pb2 as generation
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub

pytestmark = pytest.mark.program("redis-server")
GREEDY = generation.Sampling(temperature=0)
ENDLESS = 100_000_000


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(scope="module")
def channels(
    bundle: Path, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[grpc.Channel]]:
    """Two servers of one store."""
    folder = tmp_path_factory.mktemp("files")
    keys = folder / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"test:{'5' * 64}\n")
    tokens = write_tokens(folder / "tokens", {"unr_ada": "ada generate session", "unr_bob": "bob generate session"})
    settings: dict[str, Any] = {
        "store": redis.url,
        "snapshot_keys": str(keys),
        "auth_tokens": str(tokens),
        "engine_threads": 1,
        "max_tokens": ENDLESS,
        "store_interval_s": 0.05,
        "store_lease_s": 5,
    }
    with ExitStack() as stack:
        servers = [stack.enter_context(running_server(bundle, **settings)) for _ in range(2)]
        yield [stack.enter_context(grpc.insecure_channel(server.address)) for server in servers]


def dump(client: Any) -> dict[bytes, object]:
    """Return everything that the store has; how long it keeps it is left out, which moves by itself."""
    return {key: client.hgetall(key) if client.type(key) == b"hash" else client.get(key) for key in client.keys("*")}


def refuses(bob: Tenant, session_id: str) -> None:
    for what in CALLS:
        foreign, unknown = bob.try_on(what, session_id), bob.try_on(what, unknown_like(session_id))
        assert foreign == unknown, what
        assert foreign.code != "OK"


def test_a_stored_session_of_somebody_else_is_none_and_stays_as_it_is(
    channels: list[grpc.Channel], redis: RedisServer
) -> None:
    ada, elsewhere = Tenant(channels[0], "unr_ada"), Tenant(channels[1], "unr_ada")
    session_id = ada.create(seed=1)
    ada.ask("Generate", generation.GenerateRequest(session_id=session_id, prompt="a", max_tokens=20, sampling=GREEDY))
    with redis.connect() as client:
        before = dump(client)
        assert any(session_id.encode() in key for key in before)
        assert not any(b"ada" in key for key in before)
        for channel in channels:
            refuses(Tenant(channel, "unr_bob"), session_id)
        assert dump(client) == before
    assert elsewhere.get(session_id).position == 21


def test_a_session_at_work_for_somebody_else_is_none_and_goes_on(
    channels: list[grpc.Channel], redis: RedisServer
) -> None:
    ada = Tenant(channels[0], "unr_ada")
    session_id = ada.create()
    request = generation.GenerateRequest(session_id=session_id, prompt="a", max_tokens=ENDLESS, sampling=GREEDY)
    stream = GenerationServiceStub(channels[0]).Generate(request, metadata=[("authorization", "Bearer unr_ada")])
    text = next(stream).chunk.text
    for channel in channels:
        refuses(Tenant(channel, "unr_bob"), session_id)
    assert "another server is working" in Tenant(channels[1], "unr_ada").try_on("describe", session_id).details
    while len(text) < 20_000:
        text += next(stream).chunk.text
    stream.cancel()
    assert text == greedy_text("a", len(text))
    with redis.connect() as client:
        (key,) = [key for key in client.keys("*") if session_id.encode() in key and client.type(key) == b"hash"]
        assert client.hget(key, "epoch") == b"1", "nobody else has ever had it"


def test_why_a_session_is_gone_is_told_to_its_owner_alone(channels: list[grpc.Channel], redis: RedisServer) -> None:
    ada = Tenant(channels[0], "unr_ada")
    session_id = ada.create(ttl=Duration(seconds=1))
    with redis.connect() as client:
        wait_until(lambda: not any(client.type(k) == b"hash" for k in client.keys(f"*{session_id}*")), "it expires")
    for channel in channels:
        assert "idle for longer" in Tenant(channel, "unr_ada").try_on("describe", session_id).details
        refuses(Tenant(channel, "unr_bob"), session_id)

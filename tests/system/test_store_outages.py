"""What a store does while its Redis is down, frozen, full or closed to it, and afterwards."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster.ports import free_addresses
from tests.support.redis import RedisServer, running_redis
from tests.support.server import wait_until
from tests.support.stores import Clock, open_stores, try_until
from unrolled_service.errors import SessionEvicted, SessionNotFound, StoreUnavailable
from unrolled_service.storage.redis_store import RedisStore
from unrolled_service.storage.store import Claim, Gone, SessionStore

pytestmark = pytest.mark.program("redis-server")
OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
LONG_S = 600.0
SECRET = "hunter2"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    with running_redis(appendonly="yes", appendfsync="everysec") as running:
        yield running


async def write(store: SessionStore, position: int, *, rewound: bool = False) -> None:
    snapshot = b"%d" % position
    await store.write("s", epoch=1, position=position, snapshot=snapshot, ttl_s=LONG_S, lease_s=LONG_S, rewound=rewound)


def test_what_was_acknowledged_survives_a_crash(durable_redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(durable_redis.url, 3) as (owner, taker, heir):
            for number in range(100):
                await owner.create(f"s-{number}", b"0", 0, ttl_s=LONG_S, lease_s=0)
                await taker.claim(f"s-{number}", lease_s=LONG_S)
                await taker.write(
                    f"s-{number}", epoch=2, position=number, snapshot=b"%d" % number, ttl_s=LONG_S, lease_s=0
                )
            await owner.delete("s-0", why=Gone.EVICTED)
            durable_redis.kill()
            durable_redis.start()
            await try_until(lambda: heir.claim("none", lease_s=0), SessionNotFound)
            for number in range(1, 100):
                claim = await heir.claim(f"s-{number}", lease_s=LONG_S)
                assert claim == Claim(3, number, b"%d" % number)
            with pytest.raises(SessionEvicted):
                await heir.claim("s-0", lease_s=0)

    asyncio.run(scenario())


def test_a_server_that_is_gone_costs_one_attempt_and_is_found_again(durable_redis: RedisServer) -> None:
    made: list[tuple[str, bool]] = []
    clock = Clock()

    async def scenario() -> None:
        async with open_stores(
            durable_redis.url, clock=clock, on_operation=lambda name, _, ok: made.append((name, ok))
        ) as (store,):
            await store.create("s", b"", 0, ttl_s=LONG_S, lease_s=LONG_S)
            assert store.is_available
            durable_redis.stop()
            for _ in range(5):
                with pytest.raises(StoreUnavailable) as refused:
                    await write(store, 1)
                assert refused.value.retry_after_s
                assert refused.value.retry_after_s > 0
            assert made == [("create", True), ("write", False)]
            assert not store.is_available
            assert not await store.ping()

            durable_redis.start()
            with pytest.raises(StoreUnavailable):
                await write(store, 1)
            clock.now_s += 60
            await write(store, 1)
            assert store.is_available
            assert made == [("create", True), ("write", False), ("ping", False), ("write", True)]

    asyncio.run(scenario())


def test_a_ping_finds_the_server_again(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, clock=Clock()) as (store,):
            redis.stop()
            assert not await store.ping()
            with pytest.raises(StoreUnavailable):
                await store.claim("s", lease_s=0)
            redis.start()
            assert await store.ping()
            with pytest.raises(SessionNotFound):
                await store.claim("s", lease_s=0)

    asyncio.run(scenario())


def test_a_frozen_server_costs_the_time_limit_and_its_late_work_does_no_harm(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, timeout_s=2.0) as (store,):
            await try_until(lambda: store.create("s", b"0", 0, ttl_s=LONG_S, lease_s=LONG_S), None)
            redis.freeze()
            results = await asyncio.gather(
                *(write(store, position) for position in range(20, 60)), return_exceptions=True
            )
            assert {type(result) for result in results} == {StoreUnavailable}
            redis.thaw()
            await try_until(lambda: write(store, 5, rewound=True), None)
            await try_until(lambda: write(store, 7), None)
            claim = await store.claim("s", lease_s=0)
            assert claim == Claim(2, 7, b"7")

    asyncio.run(scenario())


def test_a_caller_that_goes_away_leaves_the_store_in_order(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"0", 0, ttl_s=LONG_S, lease_s=LONG_S)
            redis.freeze()
            calls = [asyncio.ensure_future(write(store, position)) for position in range(1, 41)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert all(call.cancelled() for call in calls)
            redis.thaw()
            assert store.is_available
            await write(store, 50)
            assert await store.claim("s", lease_s=0) == Claim(2, 50, b"50")

    asyncio.run(scenario())


def test_scripts_that_the_server_forgot_are_loaded_again(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, clock=Clock()) as (store,):
            await store.create("s", b"", 0, ttl_s=LONG_S, lease_s=LONG_S)
            await write(store, 1)
            with redis.connect() as client:
                client.script_flush()
            await write(store, 2)
            assert store.is_available

    asyncio.run(scenario())


def test_a_full_server_refuses_writes_and_lets_sessions_end(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"0", 0, ttl_s=LONG_S, lease_s=0)
            await store.create("t", b"0", 0, ttl_s=LONG_S, lease_s=0)
            with redis.connect() as client:
                client.config_set("maxmemory", 1)
                with pytest.raises(StoreUnavailable):
                    await write(store, 1)
                with pytest.raises(StoreUnavailable):
                    await store.create("u", b"0", 0, ttl_s=LONG_S, lease_s=0)
                assert not store.is_available
                await store.delete("t", why=Gone.EVICTED)
                client.config_set("maxmemory", 0)
            with pytest.raises(SessionEvicted):
                await store.claim("t", lease_s=0)
            assert await store.claim("s", lease_s=0) == Claim(2, 0, b"0")

    asyncio.run(scenario())


def test_a_server_that_only_reads_is_unavailable(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"0", 0, ttl_s=LONG_S, lease_s=0)
            with redis.connect() as client:
                client.replicaof("127.0.0.1", "1")
                with pytest.raises(StoreUnavailable):
                    await write(store, 1)
                client.replicaof("no", "one")
            await write(store, 1)

    asyncio.run(scenario())


def test_a_foreign_value_under_a_sessions_name_is_no_defect(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            with redis.connect() as client:
                client.set("unrolled:{s}", "something else")
            with pytest.raises(StoreUnavailable):
                await store.claim("s", lease_s=0)

    asyncio.run(scenario())


def test_the_documented_permissions_are_enough(redis: RedisServer) -> None:
    (permissions,) = re.findall(r"`(~unrolled:\* [^`]+)`", OPERATIONS.read_text())
    with redis.connect() as client:
        client.execute_command("ACL", "SETUSER", "unrolled", "on", f">{SECRET}", *permissions.split())

    async def scenario() -> None:
        url = redis.url.replace("unix://", "unix://unrolled@") + f"?password={SECRET}"
        async with open_stores(url) as (store,):
            assert await store.ping()
            await store.create("s", b"0", 0, ttl_s=LONG_S, lease_s=0)
            await write(store, 1)
            await store.release("s", epoch=1)
            assert await store.claim("s", lease_s=0) == Claim(2, 1, b"1")
            await store.delete("s")
            with pytest.raises(SessionNotFound):
                await store.claim("s", lease_s=0)

    asyncio.run(scenario())


@pytest.mark.parametrize("url", [f"redis://:wrong-{SECRET}@{{address}}", "redis://{address}"])
def test_a_wrong_password_is_said_to_the_operator_without_the_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    address = next(free_addresses())

    async def scenario(right: str, wrong: str) -> None:
        async with open_stores(right) as (store,):
            await store.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
        async with open_stores(wrong) as (store,):
            with pytest.raises(StoreUnavailable) as refused:
                await store.claim("s", lease_s=0)
            assert str(refused.value) == "the session store does not answer"

    host, _, port = address.rpartition(":")
    with running_redis(requirepass=SECRET, port=port, bind=host):
        asyncio.run(scenario(f"redis://:{SECRET}@{address}/0", url.format(address=address)))
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert f"redis://{address} does not serve: Authentication" in warning.getMessage()
    assert SECRET not in caplog.text


def test_a_server_that_takes_connections_and_says_nothing_is_unavailable() -> None:
    connections = 0

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await released.wait()
        finally:
            writer.close()

    async def scenario() -> None:
        listener = await asyncio.start_server(take, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, open_stores(f"redis://127.0.0.1:{port}", timeout_s=0.2, clock=Clock()) as (store,):
            for _ in range(5):
                with pytest.raises(StoreUnavailable):
                    await store.claim("s", lease_s=0)
            released.set()
        assert connections == 1

    released = asyncio.Event()
    asyncio.run(scenario())


def test_a_closed_store_opens_again_when_it_is_asked(redis: RedisServer) -> None:
    async def scenario() -> None:
        store = RedisStore.from_url(redis.url, owner="a", timeout_s=LONG_S)
        for _ in range(2):
            assert await store.ping()
            await store.close()
        with redis.connect() as client:
            wait_until(lambda: len(client.client_list()) == 1, "only the test is connected")

    asyncio.run(scenario())

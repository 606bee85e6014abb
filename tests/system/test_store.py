"""Who owns a session, and whose writes count, in a real Redis."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from tests.support.redis import RedisServer, running_redis
from tests.support.stores import PATIENCE_S, open_stores, try_until
from unrolled_service.errors import (
    PositionMismatch,
    SessionBusy,
    SessionEvicted,
    SessionExpired,
    SessionMoved,
    SessionNotFound,
    UnrolledError,
)
from unrolled_service.storage.redis_store import SCRIPTS, RedisStore
from unrolled_service.storage.scripts import Scripts
from unrolled_service.storage.store import MAX_SNAPSHOT_BYTES, Claim, Gone, Leased, SessionStore

pytestmark = pytest.mark.program("redis-server")
LONG_S = 600.0
EVERY_BYTE = bytes(range(256)) * 20


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """The same server, emptied."""
    with server.connect() as client:
        client.flushall()
    return server


def test_a_session_goes_from_owner_to_owner(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            assert await first.create("s", EVERY_BYTE, 7, ttl_s=LONG_S, lease_s=LONG_S) == Claim(1, 7, None)
            await first.write("s", epoch=1, position=9, snapshot=b"nine", ttl_s=LONG_S, lease_s=LONG_S)
            await first.release("s", epoch=1)
            assert await second.claim("s", lease_s=0) == Claim(2, 9, b"nine")
            assert await first.claim("s", lease_s=0, known_epoch=1) == Claim(3, 9, b"nine")

    asyncio.run(scenario())


def test_a_snapshot_comes_back_byte_for_byte(redis: RedisServer) -> None:
    large = EVERY_BYTE * 1600

    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", EVERY_BYTE, 0, ttl_s=LONG_S, lease_s=0)
            assert (await second.claim("s", lease_s=0)).snapshot == EVERY_BYTE
            await second.write("s", epoch=2, position=2**53, snapshot=large, ttl_s=LONG_S, lease_s=0)
            assert await first.claim("s", lease_s=0) == Claim(3, 2**53, large)
            await first.write("s", epoch=3, position=2**53, snapshot=b"", ttl_s=LONG_S, lease_s=0)
            assert await second.claim("s", lease_s=0) == Claim(4, 2**53, b"")

    asyncio.run(scenario())


def test_the_owner_renews_without_a_transfer(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"state", 3, ttl_s=LONG_S, lease_s=0)
            assert await first.claim("s", lease_s=LONG_S, known_epoch=1) == Claim(1, 3, None)
            with pytest.raises(Leased):
                await second.claim("s", lease_s=0)

    asyncio.run(scenario())


def test_an_owner_that_lost_its_copy_gets_it_in_spite_of_its_own_lease(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"state", 3, ttl_s=LONG_S, lease_s=LONG_S)
            assert await store.claim("s", lease_s=LONG_S) == Claim(2, 3, b"state")

    asyncio.run(scenario())


def test_anothers_epoch_does_not_pass_for_a_copy(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"state", 3, ttl_s=LONG_S, lease_s=0)
            assert await second.claim("s", lease_s=0, known_epoch=1) == Claim(2, 3, b"state")

    asyncio.run(scenario())


def test_a_lease_makes_others_wait_and_says_how_long(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=LONG_S)
            with pytest.raises(Leased) as refused:
                await second.claim("s", lease_s=0, known_epoch=1)
            assert refused.value.retry_after_s is not None
            assert 0 < refused.value.retry_after_s <= LONG_S
            assert refused.value.reason == "SESSION_BUSY"

    asyncio.run(scenario())


def test_when_the_lease_is_over_another_takes_the_session_and_the_late_write_is_refused(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"first", 5, ttl_s=LONG_S, lease_s=0.05)
            await try_until(lambda: second.claim("s", lease_s=LONG_S), None)
            with pytest.raises(SessionMoved):
                await first.write("s", epoch=1, position=6, snapshot=b"late", ttl_s=LONG_S, lease_s=LONG_S)
            assert await second.claim("s", lease_s=LONG_S) == Claim(3, 5, b"first")

    asyncio.run(scenario())


def test_an_owner_whose_lease_is_over_still_writes_while_nobody_took_the_session(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            await first.write("s", epoch=1, position=1, snapshot=b"one", ttl_s=LONG_S, lease_s=0)
            assert await second.claim("s", lease_s=0) == Claim(2, 1, b"one")

    asyncio.run(scenario())


@pytest.mark.parametrize("epoch", [0, 1, 3, 2**40])
def test_a_write_with_another_epoch_is_refused(redis: RedisServer, epoch: int) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"state", 3, ttl_s=LONG_S, lease_s=0)
            await store.claim("s", lease_s=0)
            with pytest.raises(SessionMoved):
                await store.write("s", epoch=epoch, position=9, snapshot=b"no", ttl_s=LONG_S, lease_s=0)
            assert await store.claim("s", lease_s=0) == Claim(3, 3, b"state")

    asyncio.run(scenario())


def test_anothers_epoch_does_not_let_one_write(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            with pytest.raises(SessionMoved):
                await second.write("s", epoch=1, position=9, snapshot=b"no", ttl_s=LONG_S, lease_s=0)

    asyncio.run(scenario())


def test_a_position_goes_back_only_on_purpose(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"nine", 9, ttl_s=LONG_S, lease_s=0)
            with pytest.raises(PositionMismatch) as refused:
                await store.write("s", epoch=1, position=8, snapshot=b"eight", ttl_s=LONG_S, lease_s=0)
            assert refused.value.position == 9
            await store.write("s", epoch=1, position=9, snapshot=b"again", ttl_s=LONG_S, lease_s=0)
            await store.write("s", epoch=1, position=8, snapshot=b"eight", ttl_s=LONG_S, lease_s=0, rewound=True)
            assert await store.claim("s", lease_s=0) == Claim(2, 8, b"eight")

    asyncio.run(scenario())


def test_a_release_that_is_no_longer_the_owners_does_nothing(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 3) as (first, second, third):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            await second.claim("s", lease_s=LONG_S)
            await first.release("s", epoch=1)
            await first.release("s", epoch=2)
            await second.release("s", epoch=1)
            await second.release("none", epoch=1)
            with pytest.raises(Leased):
                await third.claim("s", lease_s=0)

    asyncio.run(scenario())


def test_a_creation_may_be_repeated_until_the_session_goes_on(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            for _ in range(2):
                assert await first.create("s", b"", 4, ttl_s=LONG_S, lease_s=0) == Claim(1, 4, None)
            with pytest.raises(SessionMoved):
                await second.create("s", b"", 4, ttl_s=LONG_S, lease_s=0)
            await first.write("s", epoch=1, position=5, snapshot=b"five", ttl_s=LONG_S, lease_s=0)
            with pytest.raises(SessionMoved):
                await first.create("s", b"", 4, ttl_s=LONG_S, lease_s=0)
            assert await second.claim("s", lease_s=0) == Claim(2, 5, b"five")
            await first.claim("s", lease_s=0)
            with pytest.raises(SessionMoved):
                await first.create("s", b"", 5, ttl_s=LONG_S, lease_s=0)

    asyncio.run(scenario())


Call = Callable[[SessionStore, str], Awaitable[object]]
CALLS: dict[str, Call] = {
    "claim": lambda store, name: store.claim(name, lease_s=0),
    "write": lambda store, name: store.write(name, epoch=1, position=9, snapshot=b"", ttl_s=LONG_S, lease_s=0),
    "delete": lambda store, name: store.delete(name),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["none", "", "a b", "ä", "s\n", "{s}", "s:note", "x" * 65])
def test_where_there_is_no_session_there_is_none(redis: RedisServer, name: str, call: str) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            with pytest.raises(SessionNotFound):
                await CALLS[call](store, name)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("why", "refusal"),
    [(Gone.DELETED, SessionNotFound), (Gone.EXPIRED, SessionExpired), (Gone.EVICTED, SessionEvicted)],
)
def test_what_is_gone_says_why_and_does_not_come_back(
    redis: RedisServer, why: Gone, refusal: type[UnrolledError]
) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=LONG_S)
            await second.delete("s", why=why)
            for call in CALLS.values():
                with pytest.raises(refusal):
                    await call(first, "s")
            with pytest.raises(refusal):
                await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)

    asyncio.run(scenario())


def test_a_deletion_with_an_epoch_is_the_owners_alone(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 2) as (first, second):
            await first.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            await second.claim("s", lease_s=0)
            await first.delete("s", epoch=1, why=Gone.EVICTED)
            await first.delete("s", epoch=2, why=Gone.EVICTED)
            await second.delete("s", epoch=1, why=Gone.EVICTED)
            await second.delete("none", epoch=1, why=Gone.EVICTED)
            assert (await second.claim("s", lease_s=0, known_epoch=2)).epoch == 2
            await second.delete("s", epoch=2, why=Gone.EVICTED)
            with pytest.raises(SessionEvicted):
                await first.claim("s", lease_s=0)

    asyncio.run(scenario())


async def wait_until_gone(redis: RedisServer, name: str) -> None:
    with redis.connect() as client:
        async with asyncio.timeout(PATIENCE_S):
            while client.exists(f"unrolled:{{{name}}}"):
                await asyncio.sleep(0.01)


def test_an_idle_session_expires_and_that_is_forgotten_later(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, memory_s=LONG_S) as (store,):
            await store.create("s", b"", 0, ttl_s=0.02, lease_s=0)
            await wait_until_gone(redis, "s")
            with pytest.raises(SessionExpired):
                await store.claim("s", lease_s=0)
        async with open_stores(redis.url, memory_s=0.02) as (store,):
            await store.create("t", b"", 0, ttl_s=0.02, lease_s=0)
            await wait_until_gone(redis, "t")
            await try_until(lambda: store.claim("t", lease_s=0), SessionNotFound)
            with redis.connect() as client:
                assert not client.keys("*{t}*")

    asyncio.run(scenario())


def test_a_claim_and_a_lease_keep_a_session_from_expiring(redis: RedisServer) -> None:
    def time_left_s() -> float:
        with redis.connect() as client:
            return int(str(client.pttl("unrolled:{s}"))) / 1000

    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            await store.create("s", b"", 0, ttl_s=100, lease_s=LONG_S)
            assert 100 < time_left_s() <= LONG_S
            await store.write("s", epoch=1, position=0, snapshot=b"", ttl_s=100, lease_s=LONG_S)
            assert 100 < time_left_s() <= LONG_S
            with redis.connect() as client:
                client.pexpire("unrolled:{s}", 50_000)
            await store.claim("s", lease_s=0, known_epoch=1)
            assert time_left_s() <= 50
            await store.claim("s", lease_s=1, known_epoch=1)
            assert 50 < time_left_s() <= 100

    asyncio.run(scenario())


def test_of_fifty_claims_at_once_one_wins_each_epoch(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with open_stores(redis.url, 50) as stores:
            await stores[0].create("s", b"state", 0, ttl_s=LONG_S, lease_s=0)
            for epoch in range(2, 8):
                claims = await asyncio.gather(
                    *(store.claim("s", lease_s=LONG_S) for store in stores), return_exceptions=True
                )
                (winner,) = (number for number, claim in enumerate(claims) if isinstance(claim, Claim))
                assert claims[winner] == Claim(epoch, 0, b"state")
                assert sum(isinstance(claim, Leased) for claim in claims) == len(stores) - 1
                await stores[winner].release("s", epoch=epoch)

    asyncio.run(scenario())


def test_of_fifty_owners_without_leases_the_last_one_writes(redis: RedisServer) -> None:
    async def write(store: RedisStore, epoch: int) -> bool:
        try:
            await store.write("s", epoch=epoch, position=0, snapshot=b"%d" % epoch, ttl_s=LONG_S, lease_s=0)
        except SessionMoved:
            return False
        return True

    async def scenario() -> None:
        async with open_stores(redis.url, 50) as stores:
            await stores[0].create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
            claims = await asyncio.gather(*(store.claim("s", lease_s=0) for store in stores))
            epochs = [claim.epoch for claim in claims]
            assert sorted(epochs) == list(range(2, 52))
            written = await asyncio.gather(*map(write, stores, epochs))
            assert [epoch for epoch, is_written in zip(epochs, written, strict=True) if is_written] == [51]
            assert (await stores[0].claim("s", lease_s=0)).snapshot == b"51"

    asyncio.run(scenario())


class Holding(Scripts):
    """Holds back the first run of a script, as a slow network does."""

    def __init__(self, url: str, held: str) -> None:
        super().__init__(url, SCRIPTS, timeout_s=PATIENCE_S)
        self._held: str | None = held
        self.let_go = asyncio.Event()

    async def run(self, name: str, keys: Sequence[str], *arguments: str | bytes | int) -> list[object]:
        if name == self._held:
            self._held = None
            await self.let_go.wait()
        return await super().run(name, keys, *arguments)


def test_a_write_that_was_overtaken_takes_no_effect(redis: RedisServer) -> None:
    async def scenario() -> None:
        scripts = Holding(redis.url, "write")
        store = RedisStore(scripts, owner="a")
        await store.create("s", b"nine", 9, ttl_s=LONG_S, lease_s=0)
        late = asyncio.ensure_future(store.write("s", epoch=1, position=20, snapshot=b"late", ttl_s=LONG_S, lease_s=0))
        await asyncio.sleep(0)
        await store.write("s", epoch=1, position=5, snapshot=b"five", ttl_s=LONG_S, lease_s=0, rewound=True)
        scripts.let_go.set()
        with pytest.raises(SessionBusy):
            await late
        assert await store.claim("s", lease_s=0) == Claim(2, 5, b"five")
        await scripts.close()

    asyncio.run(scenario())


def test_a_creation_that_was_overtaken_takes_no_effect(redis: RedisServer) -> None:
    async def scenario() -> None:
        scripts = Holding(redis.url, "create")
        store = RedisStore(scripts, owner="a")
        late = asyncio.ensure_future(store.create("s", b"late", 0, ttl_s=LONG_S, lease_s=0))
        await asyncio.sleep(0)
        await store.create("s", b"zero", 0, ttl_s=LONG_S, lease_s=0)
        scripts.let_go.set()
        with pytest.raises(SessionBusy):
            await late
        assert await store.claim("s", lease_s=0) == Claim(2, 0, b"zero")
        await scripts.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("held", ["claim", "release"])
def test_a_claim_or_release_that_was_overtaken_takes_no_effect(redis: RedisServer, held: str) -> None:
    async def scenario() -> None:
        scripts = Holding(redis.url, held)
        store, other = (RedisStore(scripts, owner=name) for name in "ab")
        await store.create("s", b"", 9, ttl_s=LONG_S, lease_s=0)
        call = store.claim("s", lease_s=0) if held == "claim" else store.release("s", epoch=1)
        late = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        await store.write("s", epoch=1, position=9, snapshot=b"", ttl_s=LONG_S, lease_s=LONG_S)
        scripts.let_go.set()
        await asyncio.gather(late, return_exceptions=True)
        with pytest.raises(Leased):
            await other.claim("s", lease_s=0)
        await store.write("s", epoch=1, position=10, snapshot=b"", ttl_s=LONG_S, lease_s=0)
        await scripts.close()

    asyncio.run(scenario())


def test_a_snapshot_has_a_limit(redis: RedisServer) -> None:
    too_large = bytes(MAX_SNAPSHOT_BYTES + 1)

    async def scenario() -> None:
        async with open_stores(redis.url) as (store,):
            with pytest.raises(ValueError, match=re.escape(f"takes {MAX_SNAPSHOT_BYTES}")):
                await store.create("s", too_large, 0, ttl_s=LONG_S, lease_s=0)
            await store.create("s", too_large[1:], 0, ttl_s=LONG_S, lease_s=0)
            with pytest.raises(ValueError, match=re.escape(f"takes {MAX_SNAPSHOT_BYTES}")):
                await store.write("s", epoch=1, position=0, snapshot=too_large, ttl_s=LONG_S, lease_s=0)
            assert len((await store.claim("s", lease_s=0)).snapshot or b"") == MAX_SNAPSHOT_BYTES

    asyncio.run(scenario())


def test_stores_with_other_prefixes_share_nothing(redis: RedisServer) -> None:
    async def scenario() -> None:
        blue, green = (
            RedisStore.from_url(redis.url, owner="a", prefix=prefix, timeout_s=PATIENCE_S)
            for prefix in ("blue:", "green:")
        )
        await blue.create("s", b"", 0, ttl_s=LONG_S, lease_s=0)
        with pytest.raises(SessionNotFound):
            await green.claim("s", lease_s=0)
        await blue.close()
        await green.close()

    asyncio.run(scenario())


def test_a_store_that_was_not_asked_yet_counts_as_available() -> None:
    store: SessionStore = RedisStore.from_url("redis://127.0.0.1", owner="a")
    assert store.is_available

"""Random owners in a real Redis against what ownership means, in plain Python."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.redis import RedisServer, running_redis
from tests.support.stores import open_stores
from unrolled_service.errors import PositionMismatch, SessionMoved, SessionNotFound, UnrolledError
from unrolled_service.storage.redis_store import RedisStore
from unrolled_service.storage.store import Claim, Leased

LONG_S = 600.0
KEY = "unrolled:{s}"
OWNERS = 3
owners = st.integers(0, OWNERS - 1)
leases = st.sampled_from([0.0, LONG_S])


@dataclass
class Model:
    """The one truth about a session; None where there is none."""

    owner: int | None = None
    epoch: int = 0
    position: int = 0
    snapshot: bytes = b""
    is_leased: bool = False
    known: dict[int, int] = field(default_factory=dict)  # the newest epoch that an owner was given

    def set_lease(self, lease_s: float) -> None:
        self.is_leased = lease_s > 0

    def claim(self, owner: int, known_epoch: int, lease_s: float) -> Claim | type[UnrolledError]:
        if self.owner is None:
            return SessionNotFound
        if self.owner != owner and self.is_leased:
            return Leased
        self.set_lease(lease_s)
        if (self.owner, self.epoch) == (owner, known_epoch):
            return Claim(self.epoch, self.position, None)
        self.owner, self.epoch = owner, self.epoch + 1
        self.known[owner] = self.epoch
        return Claim(self.epoch, self.position, self.snapshot)

    def write(
        self, owner: int, epoch: int, position: int, snapshot: bytes, lease_s: float, is_rewound: bool
    ) -> type[UnrolledError] | None:
        if self.owner is None:
            return SessionNotFound
        if (self.owner, self.epoch) != (owner, epoch):
            return SessionMoved
        if position < self.position and not is_rewound:
            return PositionMismatch
        self.position, self.snapshot = position, snapshot
        self.set_lease(lease_s)
        return None

    def release(self, owner: int, epoch: int) -> None:
        if (self.owner, self.epoch) == (owner, epoch):
            self.is_leased = False

    def delete(self, owner: int, epoch: int | None) -> type[UnrolledError] | None:
        if epoch is not None and (self.owner, self.epoch) != (owner, epoch):
            return None
        if self.owner is None:
            return SessionNotFound
        self.owner = None
        return None


class Ownership(RuleBasedStateMachine):
    """Several owners of one session, each with what it last heard."""

    redis: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.stores: list[RedisStore] = self.runner.run(
            self.exits.enter_async_context(open_stores(self.redis.url, OWNERS))
        )
        self.client = self.redis.connect()
        self.client.flushall()
        self.model = Model()
        self.writes = 0

    def teardown(self) -> None:
        self.client.close()
        self.runner.run(self.exits.aclose())
        self.runner.close()

    def ask(self, call: Callable[[], Awaitable[Claim | None]]) -> Claim | type[UnrolledError] | None:
        async def answer() -> Claim | type[UnrolledError] | None:
            try:
                return await call()
            except UnrolledError as error:
                return type(error)

        return self.runner.run(answer())

    @initialize(owner=owners, position=st.integers(0, 9), lease_s=leases)
    def create(self, owner: int, position: int, lease_s: float) -> None:
        store = self.stores[owner]
        claim = self.ask(lambda: store.create("s", b"0", position, ttl_s=LONG_S, lease_s=lease_s))
        assert claim == Claim(1, position, None)
        self.model = Model(owner, 1, position, b"0", lease_s > 0, {owner: 1})

    @rule(owner=owners, lease_s=leases, remembers=st.booleans())
    def claim(self, owner: int, lease_s: float, remembers: bool) -> None:
        known_epoch = self.model.known.get(owner, 0) if remembers else 0
        claim = self.ask(lambda: self.stores[owner].claim("s", lease_s=lease_s, known_epoch=known_epoch))
        assert claim == self.model.claim(owner, known_epoch, lease_s)

    @rule(owner=owners, step=st.integers(-3, 3), lease_s=leases, is_rewound=st.booleans())
    def write(self, owner: int, step: int, lease_s: float, is_rewound: bool) -> None:
        epoch = self.model.known.get(owner, 1)
        position = max(0, self.model.position + step)
        self.writes += 1
        snapshot = b"%d" % self.writes
        answer = self.ask(
            lambda: self.stores[owner].write(
                "s",
                epoch=epoch,
                position=position,
                snapshot=snapshot,
                ttl_s=LONG_S,
                lease_s=lease_s,
                rewound=is_rewound,
            )
        )
        assert answer == self.model.write(owner, epoch, position, snapshot, lease_s, is_rewound)

    @rule(owner=owners)
    def release(self, owner: int) -> None:
        epoch = self.model.known.get(owner, 1)
        assert self.ask(lambda: self.stores[owner].release("s", epoch=epoch)) is None
        self.model.release(owner, epoch)

    @rule()
    def let_the_lease_run_out(self) -> None:
        if self.model.owner is not None:
            self.client.hset(KEY, "lease_until_ms", "1")
            self.model.is_leased = False

    @rule(owner=owners, is_any=st.booleans())
    def delete(self, owner: int, is_any: bool) -> None:
        epoch = None if is_any else self.model.known.get(owner, 1)
        answer = self.ask(lambda: self.stores[owner].delete("s", epoch=epoch))
        assert answer == self.model.delete(owner, epoch)

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        stored = self.client.hmget(KEY, ["epoch", "position", "snapshot"])
        if self.model.owner is None:
            assert stored == [None, None, None]
        else:
            assert stored == [b"%d" % self.model.epoch, b"%d" % self.model.position, self.model.snapshot]


@pytest.mark.program("redis-server")
def test_ownership_is_what_the_model_says() -> None:
    with running_redis() as redis:
        machine = type("OwnershipHere", (Ownership,), {"redis": redis})
        run_state_machine_as_test(
            machine,
            settings=settings(max_examples=300, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]),
        )

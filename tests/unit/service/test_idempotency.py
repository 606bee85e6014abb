"""The same call again gets the same answer, and nothing is done twice."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loop import Clock
from unrolled.v1.session_pb2 import (
    CreateSessionRequest,
    CreateSessionResponse,
    DeleteSessionRequest,
    ForkSessionResponse,
    Session,
)
from unrolled_service.errors import IdempotencyConflict, SlotsExhausted
from unrolled_service.storage.idempotency import REMEMBERED_S, Idempotency

MOST = 10_000
REQUEST = CreateSessionRequest(model="m", seed=5)


class Maker:
    """Makes sessions and counts them; waits or fails where it is told to."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> CreateSessionResponse:
        await self.may_answer.wait()
        if self.error:
            raise self.error
        self.made += 1
        return CreateSessionResponse(session=Session(id=f"s{self.made}"))


def test_a_call_that_comes_again_is_answered_as_before() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        first = await calls.once("k", REQUEST, maker)

        assert await calls.once("k", CreateSessionRequest(model="m", seed=5), maker) == first
        assert maker.made == 1
        assert await calls.once("other", REQUEST, maker) != first
        assert maker.made == 2

    asyncio.run(check())


def test_without_a_key_every_call_counts() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        for _ in range(3):
            await calls.once("", REQUEST, maker)

        assert maker.made == 3

    asyncio.run(check())


@pytest.mark.parametrize(
    "other", [CreateSessionRequest(model="m", seed=6), CreateSessionRequest(model="m"), DeleteSessionRequest()]
)
def test_a_key_belongs_to_one_request(other: CreateSessionRequest | DeleteSessionRequest) -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        await calls.once("k", REQUEST, maker)

        with pytest.raises(IdempotencyConflict, match="other fields"):
            await calls.once("k", other, maker)
        assert maker.made == 1

    asyncio.run(check())


def test_an_empty_request_of_another_kind_is_another_request() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        await calls.once("k", CreateSessionRequest(), maker)

        with pytest.raises(IdempotencyConflict, match="other fields"):
            await calls.once("k", DeleteSessionRequest(), maker)

    asyncio.run(check())


def test_a_call_that_still_runs_is_not_run_again() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        maker.may_answer.clear()
        running = asyncio.create_task(calls.once("k", REQUEST, maker))
        await asyncio.sleep(0)

        with pytest.raises(IdempotencyConflict, match="still running") as conflict:
            await calls.once("k", REQUEST, maker)
        assert conflict.value.retry_after_s
        maker.may_answer.set()

        assert await running == await calls.once("k", REQUEST, maker)
        assert maker.made == 1

    asyncio.run(check())


def test_a_call_that_failed_may_be_repeated() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        maker.error = SlotsExhausted("full")
        with pytest.raises(SlotsExhausted):
            await calls.once("k", REQUEST, maker)
        maker.error = None

        assert (await calls.once("k", REQUEST, maker)).session.id == "s1"

    asyncio.run(check())


def test_answers_are_remembered_for_their_time() -> None:
    async def check() -> None:
        clock = Clock()
        calls, maker = Idempotency(clock), Maker()
        await calls.once("k", REQUEST, maker)
        clock.now += REMEMBERED_S - 1
        await calls.once("k", REQUEST, maker)
        assert maker.made == 1
        clock.now += 1

        await calls.once("k", REQUEST, maker)
        assert maker.made == 2

    asyncio.run(check())


def test_the_oldest_answers_are_forgotten_first() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        for number in range(MOST):
            await calls.once(f"k{number}", REQUEST, maker)
        await calls.once("k0", REQUEST, maker)
        assert maker.made == MOST  # the oldest is still remembered

        await calls.once("new", REQUEST, maker)
        await calls.once("k1", REQUEST, maker)
        assert maker.made == MOST + 1
        await calls.once("k0", REQUEST, maker)
        assert maker.made == MOST + 2

    asyncio.run(check())


def test_a_tenant_with_many_keys_forgets_its_own() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        for number in range(3):
            await calls.once(f"k{number}", REQUEST, maker, owner="bob")
        for number in range(MOST + 5):
            await calls.once(f"k{number}", REQUEST, maker, owner="ada")
        made = maker.made

        for number in range(3):
            await calls.once(f"k{number}", REQUEST, maker, owner="bob")
        await calls.once("k8", REQUEST, maker, owner="ada")
        assert maker.made == made
        await calls.once("k7", REQUEST, maker, owner="ada")
        assert maker.made == made + 1

    asyncio.run(check())


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.sampled_from([0.0, REMEMBERED_S / 8]))))
def test_who_has_most_loses_the_oldest(calls_made: list[tuple[str, int, float]]) -> None:
    async def check() -> None:
        clock, limit = Clock(), 7
        calls, maker = Idempotency(clock, limit=limit), Maker()
        known: dict[tuple[str, str], float] = {}  # in the order in which they came
        for owner, number, later_s in calls_made:
            mark, made = (owner, f"k{number}"), maker.made
            clock.now += later_s
            await calls.once(mark[1], REQUEST, maker, owner=owner)
            known = {each: until for each, until in known.items() if until > clock.now}
            assert maker.made == made + (mark not in known)
            known.setdefault(mark, clock.now + REMEMBERED_S)
            lost = [each for each in known if each not in calls._calls]
            counts = Counter(tenant for tenant, _ in known)
            assert len(lost) == max(0, len(known) - limit)
            for each in lost:
                assert counts[each[0]] == max(counts.values())
                assert each == next(one for one in known if one[0] == each[0])
                del known[each]
            assert [*calls._calls] == [*known]

    asyncio.run(check())


def test_many_tenants_cost_no_more_than_one() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        for number in range(3 * MOST):  # a look at every tenant for each of them would take minutes
            await calls.once("k", REQUEST, maker, owner=f"tenant {number}")
        made = maker.made

        await calls.once("k", REQUEST, maker, owner=f"tenant {2 * MOST}")
        assert maker.made == made
        await calls.once("k", REQUEST, maker, owner=f"tenant {2 * MOST - 1}")
        assert maker.made == made + 1

    asyncio.run(check())


def test_a_call_that_failed_late_takes_nothing_from_its_successor() -> None:
    async def check() -> None:
        clock = Clock()
        calls, slow, maker = Idempotency(clock), Maker(), Maker()
        slow.may_answer.clear()
        slow.error = SlotsExhausted("full")
        running = asyncio.create_task(calls.once("k", REQUEST, slow))
        await asyncio.sleep(0)
        clock.now += REMEMBERED_S  # so its key is free again
        answer = await calls.once("k", REQUEST, maker)
        slow.may_answer.set()
        with pytest.raises(SlotsExhausted):
            await running

        assert await calls.once("k", REQUEST, maker) == answer
        assert maker.made == 1

    asyncio.run(check())


def test_replies_may_be_of_any_kind() -> None:
    async def check() -> None:
        calls = Idempotency(Clock())

        async def fork() -> ForkSessionResponse:
            return ForkSessionResponse(sessions=[Session(id="a"), Session(id="b")])

        assert await calls.once("k", REQUEST, fork) == await fork()

    asyncio.run(check())


def test_a_caller_that_went_away_finds_what_was_made_for_it() -> None:
    async def check() -> None:
        calls, maker = Idempotency(Clock()), Maker()
        maker.may_answer.clear()
        first = asyncio.create_task(calls.once("k", REQUEST, maker))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(IdempotencyConflict, match="still running"):
            await calls.once("k", REQUEST, maker)
        maker.may_answer.set()
        while not maker.made:
            await asyncio.sleep(0)

        assert (await calls.once("k", REQUEST, maker)).session.id == "s1"
        assert maker.made == 1

    asyncio.run(check())

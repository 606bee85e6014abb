import asyncio

import pytest

from tests.support.stores import Clock
from unrolled.v1.session_pb2 import CreateSessionRequest, CreateSessionResponse, Session
from unrolled_service.errors import IdempotencyConflict, ModelNotFound
from unrolled_service.idempotency import REMEMBERED_S, Idempotency

REQUEST = CreateSessionRequest(idempotency_key="k")


class Maker:
    """Makes sessions with ids that count up, when its gate is open."""

    def __init__(self) -> None:
        self.made = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> CreateSessionResponse:
        await self.gate.wait()
        if self.error:
            raise self.error
        self.made += 1
        return CreateSessionResponse(session=Session(id=str(self.made)))


def test_a_caller_that_went_away_finds_what_was_made_for_it() -> None:
    async def scenario() -> None:
        idempotency, maker = Idempotency(), Maker()
        first = asyncio.create_task(idempotency.once("k", REQUEST, maker))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(IdempotencyConflict, match="still running"):
            await idempotency.once("k", REQUEST, maker)
        maker.gate.set()
        while not maker.made:
            await asyncio.sleep(0)
        assert (await idempotency.once("k", REQUEST, maker)).session.id == "1"
        assert maker.made == 1

    asyncio.run(scenario())


def test_a_failure_is_not_remembered() -> None:
    async def scenario() -> None:
        idempotency, maker = Idempotency(), Maker()
        maker.gate.set()
        maker.error = ModelNotFound("no")
        with pytest.raises(ModelNotFound):
            await idempotency.once("k", REQUEST, maker)
        maker.error = None
        assert (await idempotency.once("k", REQUEST, maker)).session.id == "1"

    asyncio.run(scenario())


def test_a_key_is_forgotten_after_ten_minutes() -> None:
    async def scenario() -> None:
        clock, maker = Clock(), Maker()
        idempotency = Idempotency(clock)
        maker.gate.set()
        ids = []
        for now_s in (0.0, REMEMBERED_S - 1, REMEMBERED_S):
            clock.now_s = now_s
            ids.append((await idempotency.once("k", REQUEST, maker)).session.id)
        assert ids == ["1", "1", "2"]

    asyncio.run(scenario())

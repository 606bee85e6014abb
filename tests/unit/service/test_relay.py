"""One message of a stream is on its way at a time, and what comes meanwhile is the next one."""

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from unrolled_service.bridge.outbox import Outbox, split
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.finish import Finish, FinishReason
from unrolled_service.rpc.claim import Claim
from unrolled_service.rpc.relay import relay

LIMIT_S = 3600.0
END = "end"


class GatedContext:
    """A call whose messages leave when they are let go.

    Attributes:
        begun: the messages that were written.
        in_flight: how many of them have not left.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.in_flight = 0
        self._gate = asyncio.Semaphore(0)

    async def send_initial_metadata(self, _: object) -> None:
        assert not self.begun

    async def write(self, message: str) -> None:
        self.begun.append(message)
        self.in_flight += 1
        await self._gate.acquire()
        self.in_flight -= 1

    async def let_go(self) -> None:
        """Let one message leave, and see what follows."""
        self._gate.release()
        await pass_turns()


class FakeKeeper:
    """Notes how far the caller was told."""

    is_overdue = False

    def __init__(self) -> None:
        self.noted: list[int] = []

    def note(self, position: int) -> None:
        self.noted.append(position)


class FakeClaim:
    """A claim on a row that nobody runs."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.keeper = FakeKeeper()
        self.is_settled = False

    def wake(self) -> None: ...

    async def settle(self, _: Finish) -> None:
        self.is_settled = True


async def pass_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def make_finish(position: int) -> Finish:
    return Finish(
        reason=FinishReason.LENGTH,
        stop="",
        prompt_tokens=0,
        generated_tokens=position,
        seed=0,
        start_position=0,
        position=position,
        queue_s=0.0,
        first_token_s=0.0,
        total_s=0.0,
    )


@given(st.lists(st.sampled_from(["news", "two news at once", "let go"]), max_size=20))
def test_one_write_is_in_flight_whatever_news_arrives_and_the_news_merge(course: list[str]) -> None:
    async def scenario() -> None:
        claim, context = FakeClaim(), GatedContext()
        outbox, position, left, waiting, written = claim.outbox, 0, 0, "", list[str]()
        writing = asyncio.ensure_future(
            relay(
                cast(Claim, claim),
                context,
                LIMIT_S,
                lambda parcel: [(piece, piece.text) for piece in split(parcel, 0)],
                write_end=lambda _: END if claim.is_settled else "too early",
            )
        )
        await pass_turns()
        for event in course:
            if event == "let go" and not context.in_flight:
                continue
            if event == "let go":
                left = sum(map(len, written))
                await context.let_go()
            for _ in range({"let go": 0, "news": 1}.get(event, 2)):
                position += 1
                waiting += chr(96 + position)
                outbox.put(Delivery(outbox, waiting[-1], position))
            await pass_turns()
            if waiting and left == sum(map(len, written)):
                written.append(waiting)
                waiting = ""
            assert context.begun == written
            assert context.in_flight == (left < position)
            assert outbox.delivered == left
            assert claim.keeper.noted[-1:] == ([left] if left else [])

        outbox.put(Delivery(outbox, "", position, finish=make_finish(position)))
        await pass_turns()
        while context.begun[-1:] != [END]:
            assert context.in_flight == 1
            assert not claim.is_settled
            await context.let_go()
        assert context.begun == [*written, *([waiting] if waiting else []), END]
        assert context.in_flight == 1
        assert not writing.done()
        await context.let_go()
        await writing

    asyncio.run(scenario())

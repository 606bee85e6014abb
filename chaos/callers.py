"""Callers: each plays its tape through sessions, now and then goes back, copies, hangs up, or takes turns with itself.

They believe nothing: what they asked and heard goes to the record, and others judge it. All on one event loop.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from chaos.history import CLOSED, HUNG, UNREACHABLE, Call, Entry, Piece, Reply
from chaos.tapes import Tape
from unrolled_client import AsyncClient, SessionInfo, UnrolledError
from unrolled_client.async_session import AsyncSession
from unrolled_client.async_stream import AsyncStream
from unrolled_client.errors import NotFound, Unreachable

Answer = TypeVar("Answer")

HUNG_S = 120.0
_PAUSE_S = 1.0
_AGAIN_S = 0.25
_SHORT = (5, 80)
_BACK = 200
_SLOWLY_S = (0.01, 0.05)


class HungUp(Exception):
    """Nothing came for so long that the caller gives up for good."""


@dataclass(frozen=True)
class Desk:
    """What all callers share.

    Attributes:
        clients: connections; a caller uses one of them.
        note: takes what happened.
        began_s: the run's beginning, in monotonic seconds.
        numbers: of calls.
    """

    clients: Sequence[AsyncClient]
    note: Callable[[Entry], None]
    began_s: float
    numbers: "count[int]" = field(default_factory=count)

    def now_s(self) -> float:
        """Return the seconds since the run began."""
        return round(time.monotonic() - self.began_s, 4)


class Caller:
    """One caller.

    Args:
        number: every fifth has no sessions, every eighth reads slowly.
        tape: what it is to hear.
        desk: what it shares with others.
        seed: of what it does.
    """

    def __init__(self, number: int, tape: Tape, desk: Desk, seed: int) -> None:
        self._tape = tape
        self._desk = desk
        self._client = desk.clients[number % len(desk.clients)]
        self._draw = random.Random(f"{seed}/{number}")
        self._has_sessions = number % 5 != 4
        self._is_slow = number % 8 == 7
        self._sessions = count()
        self._session: AsyncSession | None = None
        self._name = ""
        self._position = 0
        self._is_own = True
        self._is_sure = True

    async def play(self, is_over: asyncio.Event) -> None:
        """Call and call again until it is over, then read what is left."""
        with suppress(HungUp):  # that is on the record
            await self._play(is_over)
            await self._finish()

    async def _play(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            try:
                await self._act()
            except UnrolledError:
                await self._find()
            await asyncio.sleep(min(self._draw.expovariate(1 / _PAUSE_S), 5 * _PAUSE_S))

    async def _finish(self) -> None:
        """Read what is left of the session, to the end of the tape, and delete it."""
        deadline_s = time.monotonic() + HUNG_S
        while self._session is not None and time.monotonic() < deadline_s:
            try:
                if self._position == self._tape.length:
                    await self._delete(self._session, self._name)
                    self._session = None
                else:
                    await self._read(self._session, self._tape.left_at(self._position))
            except UnrolledError:
                await self._find()
                await asyncio.sleep(_AGAIN_S)

    async def _act(self) -> None:
        if not self._has_sessions:
            await self._talk_to_nobody()
            return
        if self._session is not None and self._position == self._tape.length:
            ended, self._session = self._session, None
            await self._delete(ended, self._name)
        session = self._session or await self._open()
        act = self._draw.choices(
            (self._read_on, self._hang_up, self._go_back, self._copy, self._take_turns), (10, 2, 2, 1, 1)
        )[0]
        await act(session)

    async def _open(self) -> AsyncSession:
        name = f"{self._tape.name}.{next(self._sessions)}"
        creating = self._client.create_session(model=self._tape.model, seed=self._tape.seed)
        info = await self._ask("create", name, creating)
        self._session, self._name, self._position = AsyncSession(self._client, info.id, info.position), name, 0
        self._is_own = self._is_sure = True
        return self._session

    async def _read_on(self, session: AsyncSession) -> None:
        await self._read(session, self._some(), is_slow=self._is_slow)

    async def _hang_up(self, session: AsyncSession) -> None:
        await self._read(session, self._some(), pieces=self._draw.randrange(3))
        await self._find()

    async def _go_back(self, session: AsyncSession) -> None:
        if self._position:
            await self._rewind(session, max(0, self._position - self._draw.randint(1, _BACK)))

    async def _copy(self, session: AsyncSession) -> None:
        name = f"{self._tape.name}.{next(self._sessions)}"
        copying = session.fork(expected_position=self._position)
        (copy,) = await self._ask("fork", self._name, copying, to=name)
        if self._position < self._tape.length:
            with suppress(UnrolledError):  # then the copy is given up; where the session is has not changed
                await self._hear(*self._generate(copy.generate, self._some()), session=name)
        await self._delete(copy, name)

    async def _take_turns(self, session: AsyncSession) -> None:
        handles = [self._client.open_session(session.id) for _ in range(2)]
        for turn in range(self._draw.randint(2, 4)):
            if self._position < self._tape.length:
                await self._read(handles[turn % 2], self._some(), is_named=self._draw.random() < 0.5)
        # The first handle knows an earlier position; one that is opened by id takes a session as it is.
        self._session, self._is_own, self._is_sure = self._client.open_session(session.id), False, False

    async def _talk_to_nobody(self) -> None:
        """Generate without a session."""
        self._position = 0
        pieces = self._draw.randrange(3) if self._draw.random() < 0.1 else None
        options = {"model": self._tape.model, "seed": self._tape.seed}
        stream = self._generate(self._client.generate, self._some(), is_slow=self._is_slow, **options)
        await self._hear(*stream, session="", pieces=pieces, is_slow=self._is_slow)

    def _some(self) -> int:
        """Return how many tokens to ask for next."""
        left = self._tape.left_at(self._position)
        return left if self._is_slow else min(left, self._draw.randint(*_SHORT))

    async def _read(
        self,
        session: AsyncSession,
        tokens: int,
        *,
        pieces: int | None = None,
        is_slow: bool = False,
        is_named: bool = False,
    ) -> None:
        # A call that was given up may arrive late; then only a position that is named keeps text from being skipped.
        is_named = is_named or not self._is_sure or bool(self._tape.prompt_at(self._position))
        options = {"expected_position": self._position} if is_named else {}
        stream = self._generate(session.generate, tokens, is_slow=is_slow, **options)
        is_sure = is_named or session is self._session
        await self._hear(*stream, session=self._name, pieces=pieces, is_slow=is_slow, is_sure=is_sure)
        self._is_sure = self._is_own

    def _generate(
        self, generate: Callable[..., AsyncStream], tokens: int, *, is_slow: bool = False, **options: Any
    ) -> tuple[AsyncStream, int]:
        if is_slow:
            # Large messages, so that little text fits between server and reader and the stream lasts.
            options |= {"max_chunk_tokens": 1, "logprobs": 20}
        prompt = self._tape.prompt_at(self._position)
        return generate(prompt, max_tokens=tokens, sampling=self._tape.sampling, **options), tokens

    async def _hear(
        self,
        stream: AsyncStream,
        tokens: int,
        *,
        session: str,
        pieces: int | None = None,
        is_slow: bool = False,
        is_sure: bool = True,
    ) -> None:
        """Read a stream, or only its first pieces."""
        desk, tape = self._desk, self._tape
        start, prompt = self._position, tape.prompt_at(self._position)
        number, stall_s = next(desk.numbers), 0.0
        call = Call(number, desk.now_s(), tape.name, session, "generate", start, prompt, tokens, is_sure=is_sure)
        desk.note(call)

        def end(position: int | None, error: str = "", message: str = "") -> None:
            desk.note(Reply(number, desk.now_s(), position, False, error, message, stream.resumes, stall_s))

        async with stream:
            chunks = stream.chunks()
            try:
                while pieces is None or pieces > 0:
                    asked_s = desk.now_s()
                    async with asyncio.timeout(HUNG_S):
                        chunk = await anext(chunks, None)
                    stall_s = max(stall_s, desk.now_s() - asked_s)
                    if chunk is None:
                        break
                    desk.note(Piece(number, desk.now_s(), chunk.text, chunk.position))
                    if session == self._name:
                        self._position = chunk.position
                    pieces = None if pieces is None else pieces - 1
                    if is_slow:
                        await asyncio.sleep(self._draw.uniform(*_SLOWLY_S))
            except UnrolledError as error:
                end(error.position, _name(error), error.message)
                raise
            except TimeoutError:
                end(None, HUNG, f"no text for {HUNG_S:g} s")
                raise HungUp from None
            if stream.finish is None:
                end(None, CLOSED)
            else:
                end(stream.finish.position)

    async def _rewind(self, session: AsyncSession, to: int) -> None:
        await self._ask("rewind", self._name, session.rewind(to, expected_position=self._position), to=to)
        self._position = to

    async def _delete(self, session: AsyncSession, name: str) -> None:
        with suppress(UnrolledError):  # then it expires
            await self._ask("delete", name, session.delete())

    async def _find(self) -> None:
        """Ask where the session is after a call that failed or was closed, and bring it to the last that was heard."""
        deadline_s = time.monotonic() + HUNG_S
        self._is_sure = False
        while self._session is not None:
            try:
                info = await self._ask("info", self._name, self._session.info())
                if info.position > self._position and not info.is_busy:
                    heard, self._position = self._position, info.position
                    try:
                        await self._rewind(self._session, heard)
                    except UnrolledError:
                        self._position = heard
                        raise
            except NotFound:
                self._session = None
                return
            except UnrolledError:
                pass
            else:
                if not info.is_busy:
                    self._position = min(self._position, info.position)
                    return
            if time.monotonic() > deadline_s:
                number = next(self._desk.numbers)
                self._desk.note(Call(number, self._desk.now_s(), self._tape.name, self._name, "info"))
                self._desk.note(Reply(number, self._desk.now_s(), error=HUNG, message="the session is not found again"))
                raise HungUp
            await asyncio.sleep(_AGAIN_S)

    async def _ask(self, verb: str, session: str, asking: Awaitable[Answer], *, to: int | str = 0) -> Answer:
        """Make a call with one reply."""
        desk, number = self._desk, next(self._desk.numbers)
        start = 0 if verb == "create" else self._position
        began_s = desk.now_s()
        desk.note(Call(number, began_s, self._tape.name, session, verb, start, to=to))

        def end(position: int | None, is_busy: bool = False, error: str = "", message: str = "") -> None:
            now_s = desk.now_s()
            desk.note(Reply(number, now_s, position, is_busy, error, message, 0, now_s - began_s))

        try:
            async with asyncio.timeout(HUNG_S):
                answer = await asking
        except UnrolledError as error:
            end(error.position, False, _name(error), error.message)
            raise
        except TimeoutError:
            end(None, False, HUNG, f"no reply for {HUNG_S:g} s")
            raise HungUp from None
        match answer:
            case SessionInfo():
                end(answer.position, answer.is_busy)
            case [AsyncSession() as copy]:
                end(copy.position)
            case _:
                end(None)
        return answer


def _name(error: UnrolledError) -> str:
    return error.reason or (UNREACHABLE if isinstance(error, Unreachable) else error.code.name)

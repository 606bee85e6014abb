"""Calls of every shape, made again and again: some are cancelled, some read slowly, some talk in sessions.

``python -m bench.mixture PLAN``, where PLAN is a ``Plan`` as JSON, prints a ``Report`` as JSON. What a call gives is
compared with what it gave on a quiet server: all of it, or, where the call was left, its beginning.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.asks import Ask, Items, Text, make_asks
from unrolled_client import AsyncClient, AsyncSession, UnrolledError
from unrolled_client.errors import ResourceExhausted, SessionExpired

CANCELLED, TALKING, SLOW = 0.35, 0.2, 0.05
_THINK_S, _LEAVE_S, _NAP_S, _SLOW_S = 0.1, 0.01, 0.3, 5.0
_TTLS_S = (1.0, 2.0, 5.0)
_LASTING_S = 10.0  # idle, which no caller is in the middle of its talk
_EXPIRING = 0.2
_SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 4096), ("grpc.http2.bdp_probe", 0))
_FAULTS_TOLD = 5


@dataclass(frozen=True)
class Plan:
    """What load to make.

    Attributes:
        target: ``host:port``.
        wanted: file of what each call may give, as JSON: for each a list of answers.
        callers: calls at once.
        seconds: how long.
        seed: of what is chosen.
        may_break: connections may be lost, because this process is stopped for a while.
    """

    target: str
    wanted: str
    callers: int
    seconds: float
    seed: int
    may_break: bool = False


@dataclass
class Report:
    """What became of the calls.

    Attributes:
        ends: how many ended how: complete, cancelled, slow, talked, expired, or a reason.
        wrong: what calls gave that they should not have, at most a few.
        faults: errors that nothing explains, at most a few.
    """

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        """Return what became of the calls of both."""
        return Report(self.ends + other.ends, self.wrong + other.wrong, self.faults + other.faults)


class Mixture:
    """The callers of one process.

    Args:
        plan: how many, and whom they call.
    """

    def __init__(self, plan: Plan) -> None:
        self.report = Report()
        self._plan = plan
        self._chance = random.Random(plan.seed)
        answers = json.loads(Path(plan.wanted).read_text())
        self._asks = list(zip(make_asks(), answers, strict=True))

    async def run(self) -> None:
        """Make the calls until the time is over; what runs then is left."""
        plan = self._plan
        async with AsyncClient(plan.target) as client, AsyncClient(plan.target, options=_SMALL_WINDOW) as slow:
            with suppress(TimeoutError):
                async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                    for _ in range(plan.callers):
                        group.create_task(self._repeat(client, slow))

    async def _repeat(self, client: AsyncClient, slow: AsyncClient) -> None:
        while True:
            try:
                self.report.ends[await self._call(client, slow)] += 1
            except UnrolledError as error:
                self._note(error)
            await asyncio.sleep(self._chance.expovariate(1 / _THINK_S))

    async def _call(self, client: AsyncClient, slow: AsyncClient) -> str:
        """Make a call; return how it ended."""
        chance, lot = self._chance, self._chance.random()
        if lot < SLOW:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SLOW_S):
                    await self._read(
                        slow, *chance.choice([each for each in self._asks if each[0].is_long]), nap_s=_NAP_S
                    )
            return "slow"
        ask, answers = chance.choice([each for each in self._asks if not each[0].is_long])
        if lot < SLOW + TALKING and ask.text is not None:
            return await self._talk(client, ask.model, ask.text, answers)
        ends = self.report.ends
        if ends["cancelled"] > CANCELLED * ends.total():  # a quick server completes many before they can be left
            await self._read(client, ask, answers)
            return "complete"
        try:
            async with asyncio.timeout(chance.expovariate(1 / _LEAVE_S)):
                await self._read(client, ask, answers)
        except TimeoutError:
            return "cancelled"
        return "complete"

    async def _read(self, client: AsyncClient, ask: Ask, answers: list[Items], *, nap_s: float = 0.0) -> None:
        given: Items = []
        is_whole = False
        try:
            async with aclosing(ask.pieces(client)) as pieces:  # type: ignore[type-var]  # a generator, all of them
                async for piece in pieces:
                    given += piece
                    if nap_s:
                        await asyncio.sleep(nap_s)
            is_whole = True
        finally:
            self._compare(ask.model, given, answers, is_whole=is_whole)

    async def _talk(self, client: AsyncClient, model: str, text: Text, answers: list[Items]) -> str:
        """Ask for a text in two parts, on a session that is copied or taken back in between; or let it expire."""
        chance, is_left = self._chance, self._chance.random() < _EXPIRING
        ttl_s = chance.choice(_TTLS_S) if is_left else _LASTING_S
        info = await client.create_session(model=model, seed=text.seed, ttl_s=ttl_s)
        session, first = client.open_session(info.id), chance.randrange(1, text.length)
        given = await session.generate(text.prompt, max_tokens=first).read()
        if is_left:
            await asyncio.sleep(ttl_s + 1)
            with suppress(SessionExpired):
                await session.generate(max_tokens=1).read()
                self._tell(self.report.wrong, f"a session of {model} outlived its {ttl_s:g} s")
            return "expired"
        session = await self._move(client, session)
        given += await session.generate(max_tokens=text.length - first).read()
        self._compare(model, list(given), answers, is_whole=True)
        if chance.random() < 0.5:
            await session.delete()
        return "talked"

    async def _move(self, client: AsyncClient, session: AsyncSession) -> AsyncSession:
        """Return a session that goes on as this one would."""
        match self._chance.randrange(4):
            case 0:
                (copy,) = await session.fork()
                return copy
            case 1:
                return await client.restore(await session.snapshot(), ttl_s=_LASTING_S)
            case 2:
                where = await session.info()
                await session.generate(max_tokens=10).read()
                await session.rewind(where.position)
        return session

    def _compare(self, model: str, given: Items, answers: list[Items], *, is_whole: bool) -> None:
        """Note what was given if none of the answers is that, or begins so."""
        if not any(given == (answer if is_whole else answer[: len(given)]) for answer in answers):
            self._tell(self.report.wrong, f"{model} gave {''.join(given)[:200]!r}")

    def _note(self, error: UnrolledError) -> None:
        self.report.ends[error.reason or error.code.name] += 1
        if not isinstance(error, ResourceExhausted) and not self._plan.may_break:
            self._tell(self.report.faults, f"{type(error).__name__}: {error}")

    def _tell(self, told: list[str], words: str) -> None:
        if len(told) < _FAULTS_TOLD:
            told.append(words)


if __name__ == "__main__":
    mixture = Mixture(Plan(**json.loads(sys.argv[1])))
    asyncio.run(mixture.run())
    print(json.dumps(vars(mixture.report)))

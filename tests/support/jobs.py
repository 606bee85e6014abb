"""Generations to be compared with their solo runs: how they are asked for, read and broken off is drawn."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.loop import Reader, begin, generate
from tests.support.lstm import LETTERS
from unrolled_service.engine import Engine
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.rows.row import Row

SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_k=5),
    Sampling(top_p=0.8, min_p=0.02),
    Sampling(repetition_penalty=1.2, frequency_penalty=0.5, logit_bias=((4, 2.0),)),
)


@dataclass(eq=False)
class Job:
    """One generation of up to two calls: what is asked, and what came.

    Attributes:
        length: tokens of all calls.
        first: tokens that its first call asks for; the second asks for the rest, where there is a session.
        stops: stop texts of its first call.
        is_lazy: its reader takes a few characters at a time.
        is_impatient: its first call may be cancelled.
        session_id: of its session while it runs, if it has one.
        parts: the text that each call was given.
        is_cut: its first call was cancelled before it had everything.
    """

    prompt: str
    seed: int
    length: int
    sampling: Sampling
    first: int
    stops: tuple[str, ...] = ()
    has_session: bool = False
    is_lazy: bool = False
    is_impatient: bool = False
    session_id: str | None = None
    parts: list[str] = field(default_factory=list)
    is_cut: bool = False

    @property
    def text(self) -> str:
        """All that came."""
        return "".join(self.parts)

    def begin(self, engine: Engine) -> tuple[Row, Reader]:
        """Begin the next call."""
        reader, prompt, budget = Reader(is_eager=not self.is_lazy), self.prompt, self.first
        options: dict[str, Any] = {"seed": self.seed, "stops": self.stops}
        if self.has_session:
            if self.session_id is None:
                self.session_id = engine.create_session("", seed=self.seed, ttl_s=None).id
            position = engine.session(self.session_id).position
            options = {"session_id": self.session_id, "stops": () if self.parts else self.stops}
            if self.parts:
                prompt, budget = "" if position else prompt, self.length - len(self.text)
            options["expected_position"] = len(self.prompt) + len(self.text) if position else 0
        return begin(engine, prompt, budget, reader=reader, sampling=self.sampling, **options)

    def is_over(self, row: Row, reader: Reader, chance: random.Random) -> bool:
        """Read on, and say whether the call is over: complete, or given up."""
        if self.is_lazy and chance.random() < 0.3:
            reader.hear(chance.randint(1, 30))
        if row.is_over and reader.finish is not None:
            return True
        gives_up = self.is_impatient and not self.parts
        return gives_up and chance.random() < (0.2 if reader.text else 0.01)

    def end(self, engine: Engine, row: Row, reader: Reader) -> bool:
        """Close the call; return whether another one follows."""
        engine.close(row)
        self.is_cut = self.is_cut or reader.finish is None
        self.parts.append(reader.text)
        if self.session_id is not None:
            if len(self.text) < self.length:
                return True
            engine.delete_session(self.session_id)
        return False

    def is_right(self, whole: str) -> bool:
        """Return whether it was given what its solo run says, uninterrupted and without stop texts."""
        first = until_stop(whole[: self.first], self.stops)
        if not (first.startswith(self.parts[0]) if self.is_cut else first == self.parts[0]):
            return False
        return not self.has_session or self.text == whole


def draw_job(chance: random.Random) -> Job:
    """Draw a job; most are short, and read at once to their end."""
    prompt = "".join(chance.choices(LETTERS, k=chance.randint(1, 12)))
    length = chance.randint(1, 200 if chance.random() < 0.05 else 16)
    has_session = chance.random() < 0.2
    return Job(
        prompt,
        chance.getrandbits(64),
        length,
        chance.choice(SAMPLINGS),
        first=chance.randint(1, length) if has_session else length,
        stops=tuple(_draw_stop(chance) for _ in range(3)) if chance.random() < 0.2 else (),
        has_session=has_session,
        is_lazy=chance.random() < 0.3,
        is_impatient=chance.random() < (0.4 if has_session else 0.15),
    )


def _draw_stop(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randint(1, 2)))


def until_stop(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the stop text that is complete first; of several, the longest."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return text[: min(ends)[1]] if ends else text


def say_alone(engine: Engine, job: Job) -> str:
    """Return what a job is to be given, from one uninterrupted run that has the engine for itself."""
    return generate(engine, job.prompt, job.length, seed=job.seed, sampling=job.sampling).text

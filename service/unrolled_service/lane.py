"""One bundle with its state memory and its rows, and the slice that advances them.

A slice is five beats: choose, gather, run, deliver, settle. It runs on the engine's thread; news
leaves as ``Delivery`` values, and who carries them to the callers is somebody else's business.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from unrolled_service.arena import Arena, Rows, StateSpec
from unrolled_service.bundle import Bundle
from unrolled_service.program import NOT_FORCED, Batch, Floats, Outcome
from unrolled_service.row import Delivery, Row, Tokens
from unrolled_service.scheduler import Scheduler
from unrolled_service.settings import Settings

STAGES = ("choose", "gather", "run", "deliver", "settle")


@dataclass(slots=True)
class Slice:
    """What one slice did.

    Attributes:
        model: name of the bundle.
        rows: extent of the batch.
        steps: K, steps that every row ran.
        deliveries: news, in row order; a row without news has none.
        prompt_tokens: tokens fed from callers' texts.
        generated_tokens: sampled tokens handed to callers.
        queue_waits_s: waits of the rows that ran for the first time.
        first_tokens_s: waits of the streams that got their first token, from arrival.
        gaps: how many streams got their next n tokens after those of time t, by (t, n).
        ended_at: engine time at which the samples were there.
        stages_s: seconds of the beats by name.
    """

    model: str
    rows: int
    steps: int
    deliveries: list[Delivery] = field(default_factory=list)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    queue_waits_s: list[float] = field(default_factory=list)
    first_tokens_s: list[float] = field(default_factory=list)
    gaps: Counter[tuple[float, int]] = field(default_factory=Counter)
    ended_at: float = 0.0
    stages_s: dict[str, float] = field(default_factory=dict)


class Lane:
    """One bundle being served.

    A slot holds the cell's states and, behind them, how often each token was generated and fed: what
    penalties depend on is part of the state.

    Args:
        bundle: what is served.
        settings: limits of rows, steps, streams and sessions.

    Attributes:
        sessions: sessions that hold a slot.
        streams: rows that hold a slot: admitted and not released.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle = bundle
        counts = [StateSpec(name, name, (len(bundle.vocabulary),)) for name in ("generated", "fed")]
        self.arena = Arena((*bundle.states, *counts), settings.max_sessions + settings.max_streams)
        self.scheduler = Scheduler(
            max_rows=settings.max_rows,
            max_steps=settings.max_steps,
            slice_s=settings.slice_ms / 1000,
            credit=settings.credit,
        )
        self.sessions = 0
        self.streams = 0

    def slice(self, now: float, before_run: Callable[[], None]) -> Slice | None:
        """Advance every chosen row by up to K steps; return None if no row wants to run.

        Args:
            now: engine time.
            before_run: called when everything is ready and the interpreter's lock is about to be let go.
        """
        started = time.perf_counter()
        rows = self.scheduler.choose()
        if not rows:
            return None
        chosen = time.perf_counter()
        done = Slice(self.bundle.name, len(rows), self.scheduler.steps(rows))
        slots: Rows = np.array([row.slot for row in rows], np.intp)
        *states, generated, fed = self.arena.read(slots)
        batch = _gather(rows, done.steps, generated, fed)
        before_run()
        gathered = time.perf_counter()
        outcome = self.bundle.program.run(batch, states)
        ran = time.perf_counter()
        moments = (now + chosen - started, now + ran - started)
        self._deliver(rows, outcome, done, *moments, step_s=(ran - gathered) / done.steps)
        delivered = time.perf_counter()
        self._settle(rows, slots, batch, outcome, generated, fed)
        settled = time.perf_counter()
        self.scheduler.learn(len(rows), done.steps, ran - gathered, (gathered - started) + (settled - ran))
        marks = (started, chosen, gathered, ran, delivered, settled)
        done.stages_s = {name: marks[i + 1] - marks[i] for i, name in enumerate(STAGES)}
        return done

    def admit(self, row: Row) -> None:
        """Take in a row whose slot was acquired here; its state begins as its session's."""
        if session := row.session:
            self.arena.copy(session.slot, row.slot)
            session.row = row
        self.streams += 1
        self.scheduler.add(row)

    def release(self, row: Row) -> None:
        """Let go of a row: its slot, and its session, left at the last delivered position."""
        self.streams -= 1
        self.scheduler.remove(row)
        if session := row.session:
            if row.can_advance_session():
                self.arena.copy(row.slot, session.slot)
                row.advance_session()
            row.keep_delivered()
            session.row = None
        self.arena.release(row.slot)

    def _deliver(
        self, rows: list[Row], outcome: Outcome, done: Slice, joined_at: float, now: float, *, step_s: float
    ) -> None:
        """Turn the samples into news."""
        steps, done.ended_at = done.steps, now
        text = self.bundle.vocabulary.decode(np.ascontiguousarray(outcome.tokens.T))
        for i, row in enumerate(rows):
            if row.chosen_at is None:
                row.chosen_at = joined_at
                done.queue_waits_s.append(joined_at - row.arrived)
            if len(row.forced):
                done.prompt_tokens += row.prompt_tokens_within(steps)
            first, end = row.samples_within(steps)
            if end <= first:
                continue
            before, count = row.last_tokens_at, end - first
            news = row.take(text[i * steps + first : i * steps + end], outcome, i, first, end, now)
            if before is not None:
                done.gaps[before, count] += 1
            elif row.first_token_at is not None:
                done.first_tokens_s.append(now - row.arrived)
                done.gaps[now - step_s * (count - 1), count - 1] += 1
            if news:
                done.generated_tokens += len(news.text)
                done.deliveries.append(news)

    def _settle(
        self, rows: list[Row], slots: Rows, batch: Batch, outcome: Outcome, generated: Floats, fed: Floats
    ) -> None:
        """Let sessions follow to the state before this slice, then take the new one."""
        followers = [row for row in rows if row.session and row.can_advance_session()]
        if followers:
            sources = np.array([row.slot for row in followers], np.intp)
            targets = np.array([row.session.slot for row in followers if row.session], np.intp)
            self.arena.copy(sources, targets)
            for row in followers:
                row.advance_session()
        counts = _count(rows, batch, outcome, generated, fed)
        self.arena.write(slots, [*outcome.states, *counts])
        steps = len(outcome.tokens)
        for each, token in zip(rows, outcome.tokens[-1].tolist(), strict=True):
            each.step(steps, token)
        self.scheduler.settle()


def _gather(rows: list[Row], steps: int, generated: Floats, fed: Floats) -> Batch:
    """Return the inputs of the rows: what is forced, and the last sample where nothing is."""
    forced = np.full((steps, len(rows)), NOT_FORCED, np.int64)
    for i, row in enumerate(rows):
        if len(row.forced):
            head = row.forced[:steps]
            forced[: len(head), i] = head
    described = max(row.described for row in rows)
    return Batch(
        token=np.array([row.token for row in rows], np.int64),
        forced=forced,
        position=np.array([row.consumed + 1 for row in rows], np.int64),
        seed=np.array([row.seed for row in rows], np.uint64),
        sampling=[row.sampling for row in rows],
        generated=generated,
        fed=fed,
        target=_targets(rows, steps) if described else None,
        described=described,
    )


def _targets(rows: list[Row], steps: int) -> Tokens:
    targets = np.full((steps, len(rows)), -1, np.int64)
    for i, row in enumerate(rows):
        given = row.targets(steps)
        targets[: len(given), i] = given
    return targets


def _count(rows: list[Row], batch: Batch, outcome: Outcome, generated: Floats, fed: Floats) -> tuple[Floats, Floats]:
    """Add the inputs of this slice to the counts of generated and of fed tokens, f32[B, V] each."""
    columns = np.array([i for i, row in enumerate(rows) if row.is_counted], np.intp)
    if len(columns):
        vocabulary_size = generated.shape[1]
        forced = batch.forced[:, columns]
        sampled = np.concatenate([batch.token[None, columns], outcome.tokens[:-1, columns]])
        inputs = np.where(forced < 0, sampled, forced % vocabulary_size)
        is_generated = (forced < 0) | (forced >= vocabulary_size)
        place = (np.broadcast_to(columns, inputs.shape), inputs)
        np.add.at(generated, place, is_generated)
        np.add.at(fed, place, ~is_generated)
    return generated, fed

"""One bundle with its state memory and its streams, and the slice that advances them.

A slice is five beats: choose, gather, run, deliver, settle. It runs on the engine's thread; text
leaves as ``Delivery`` values, and who carries them to the callers is somebody else's business.
"""

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unrolled_service.arena import Arena, Rows, States
from unrolled_service.bundle import Bundle
from unrolled_service.program import NOT_FORCED, Batch
from unrolled_service.scheduler import Scheduler
from unrolled_service.settings import Settings
from unrolled_service.stream import Finish, Sink, Stream

STAGES = ("choose", "gather", "run", "deliver", "settle")


@dataclass(frozen=True, slots=True)
class Delivery:
    """News for one caller: text up to ``position``; the finish, or the error, if it is the last."""

    sink: Sink
    text: str
    position: int
    finish: Finish | None = None
    error: Exception | None = None


@dataclass(slots=True)
class Slice:
    """What one slice did.

    Attributes:
        model: name of the bundle.
        rows: extent of the batch.
        steps: K, steps that every row ran.
        deliveries: news, in row order; a row without news has none.
        prompt_tokens: prompt tokens fed.
        generated_tokens: sampled tokens handed to callers.
        queue_waits_s: waits of the streams that ran for the first time.
        first_tokens_s: waits of the streams that got their first token, from arrival.
        gaps: how many rows got their next n tokens after those of time t, by (t, n).
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

    Args:
        bundle: what is served.
        settings: limits of rows, steps, streams and sessions.

    Attributes:
        sessions: sessions that hold a slot.
        streams: streams that hold a slot: admitted and not released.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle = bundle
        self.arena = Arena(bundle.states, settings.max_sessions + settings.max_streams)
        self.scheduler = Scheduler(
            max_rows=settings.max_rows,
            max_steps=settings.max_steps,
            slice_s=settings.slice_ms / 1000,
            credit=settings.credit,
        )
        self.sessions = 0
        self.streams = 0

    def slice(self, now: float) -> Slice | None:
        """Advance every chosen row by up to K steps; return None if no stream wants a row."""
        started = time.perf_counter()
        rows = self.scheduler.choose()
        if not rows:
            return None
        chosen = time.perf_counter()
        done = Slice(self.bundle.name, len(rows), self.scheduler.steps(rows))
        batch = _gather(rows, done.steps)
        slots: Rows = np.array([row.slot for row in rows], np.intp)
        states = self.arena.read(slots)
        gathered = time.perf_counter()
        tokens, new_states = self.bundle.program.run(batch, states)
        ran = time.perf_counter()
        self._deliver(rows, tokens, done, now + ran - started, joined_at=now + chosen - started)
        delivered = time.perf_counter()
        self._settle(rows, slots, tokens, new_states)
        self.scheduler.learn(len(rows), done.steps, ran - gathered)
        settled = time.perf_counter()
        moments = (started, chosen, gathered, ran, delivered, settled)
        done.stages_s = {name: moments[i + 1] - moments[i] for i, name in enumerate(STAGES)}
        return done

    def admit(self, stream: Stream) -> None:
        """Take in a stream whose slot was acquired here; its state begins as its session's."""
        if session := stream.session:
            self.arena.copy(session.slot, stream.slot)
            session.stream = stream
        self.streams += 1
        self.scheduler.add(stream)

    def release(self, stream: Stream) -> None:
        """Let go of a stream: its row, its slot, and its session, left at the last delivered position."""
        self.streams -= 1
        self.scheduler.remove(stream)
        if session := stream.session:
            if stream.can_advance_session():
                self.arena.copy(stream.slot, session.slot)
                stream.advance_session()
            stream.keep_delivered()
            session.stream = None
        self.arena.release(stream.slot)

    def _deliver(
        self, rows: list[Stream], tokens: NDArray[np.int64], done: Slice, now: float, *, joined_at: float
    ) -> None:
        """Turn the samples into news. The samples at forced steps but the last are discarded."""
        steps, done.ended_at = done.steps, now
        text = self.bundle.vocabulary.decode(np.ascontiguousarray(tokens.T))
        for i, row in enumerate(rows):
            if row.chosen_at is None:
                row.chosen_at = joined_at
                done.queue_waits_s.append(joined_at - row.arrived)
            done.prompt_tokens += row.prompt_tokens_within(steps)
            first = max(len(row.forced) - 1, 0)
            end = min(steps, first + row.generation.max_tokens - row.sampled)
            if end <= first:
                continue
            if row.last_tokens_at is None:
                done.first_tokens_s.append(now - row.arrived)
            else:
                done.gaps[row.last_tokens_at, end - first] += 1
            samples = tokens[first:end, i].tolist() if row.session else ()
            shown = row.take(text[i * steps + first : i * steps + end], samples, now)
            done.generated_tokens += len(shown)
            if shown or row.finish:
                done.deliveries.append(Delivery(row.sink, shown, row.sent, row.finish))

    def _settle(self, rows: list[Stream], slots: Rows, tokens: NDArray[np.int64], states: States) -> None:
        """Let sessions follow to the state before this slice, then take the new one."""
        followers = [row for row in rows if row.can_advance_session()]
        if followers:
            sources = np.array([row.slot for row in followers], np.intp)
            targets = np.array([row.session.slot for row in followers if row.session], np.intp)
            self.arena.copy(sources, targets)
            for row in followers:
                row.advance_session()
        self.arena.write(slots, states)
        steps = len(tokens)
        for row, token in zip(rows, tokens[-1].tolist(), strict=True):
            row.step(steps, token)
        self.scheduler.settle()


def _gather(rows: list[Stream], steps: int) -> Batch:
    """Return the inputs of the rows: what is forced, and the last sample where nothing is."""
    forced = np.full((steps, len(rows)), NOT_FORCED, np.int64)
    for i, row in enumerate(rows):
        if len(row.forced):
            head = row.forced[:steps]
            forced[: len(head), i] = head
    return Batch(
        token=np.array([row.token for row in rows], np.int64),
        forced=forced,
        position=np.array([row.consumed + 1 for row in rows], np.int64),
        seed=np.array([row.seed for row in rows], np.uint64),
        sampling=[row.generation.sampling for row in rows],
    )

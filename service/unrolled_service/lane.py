"""One bundle with its sessions' states and its rows, and the slice that advances them.

A slice is five beats: choose, gather, run, deliver, settle. It runs on the engine's thread; news
leaves as ``Delivery`` values, and who carries them to the callers is somebody else's business.
"""

import time
from collections.abc import Callable, Sequence

from unrolled_service.arena import Floats
from unrolled_service.bundle import Bundle
from unrolled_service.history import Checkpoint
from unrolled_service.residency import Residency
from unrolled_service.row import NOWHERE, Row
from unrolled_service.scheduler import Scheduler
from unrolled_service.settings import Settings
from unrolled_service.slice import Samples, Slice
from unrolled_service.table import Table, count_inputs

STAGES = ("choose", "gather", "run", "deliver", "settle")


class Lane:
    """One bundle being served.

    Args:
        bundle: what is served.
        settings: limits of rows, steps, streams and sessions.

    Attributes:
        residency: where the sessions' states are.
        scheduler: which rows run.
        sessions: number of sessions.
        streams: number of rows that were admitted and not released.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle = bundle
        initial = bundle.program.initial
        self.residency = Residency(initial, max(settings.slots, settings.max_streams))
        self.scheduler = Scheduler(
            max_rows=settings.max_rows,
            max_steps=settings.max_steps,
            slice_s=settings.slice_ms / 1000,
            pause_s=settings.pause_ms / 1000,
            credit=settings.credit,
        )
        self.sessions = 0
        self.streams = 0
        self._initial = initial
        self._record = Slice(bundle.name)
        self._table = Table(len(initial), len(bundle.vocabulary), settings.max_rows, settings.max_steps)

    def slice(self, now: float, before_run: Callable[[], None]) -> Slice | None:
        """Advance every chosen row by up to K steps; return what was done, or None if no row wants to run.

        Args:
            now: engine time.
            before_run: called when everything is ready and the interpreter's lock is about to be let go.
        """
        marks = [time.perf_counter()]
        record, joining = self._record, self.scheduler.choose()
        rows = self._table.arrange(joining, record)
        if not rows:
            return None
        steps = self.scheduler.steps(rows, self._table.steps_left)
        marks.append(time.perf_counter())
        self._note_waits(joining, now + marks[1] - marks[0])
        self._advance_sessions(rows)
        batch, state = self._table.batch(rows, steps)
        before_run()
        marks.append(time.perf_counter())
        outcome = self.bundle.program.run(batch, state)
        marks.append(time.perf_counter())
        started, _, gathered, ran = marks
        samples = Samples(
            outcome.tokens,
            outcome.descriptions,
            self.bundle.vocabulary.decode(outcome.tokens),
            ended_at=now + ran - started,
            step_s=(ran - gathered) / steps,
        )
        if batch.extras is not None:
            count_inputs(rows, batch, outcome)
        told = self._deliver(self._table.step(outcome, samples), samples, record)
        marks.append(time.perf_counter())
        for row in self.scheduler.settle(told):
            self._take_out(row)
        record.rows, record.steps, self._record = len(rows), steps, Slice(self.bundle.name)
        marks.append(time.perf_counter())
        record.stages_s = {name: marks[i + 1] - marks[i] for i, name in enumerate(STAGES)}
        self.scheduler.learn(record.rows, steps, record.stages_s)
        return record

    def admit(self, row: Row) -> None:
        """Take in a row; its state begins as its session's."""
        if session := row.session:
            row.state = self.residency.state_of(session)
            self.residency.bring_in(session)
            session.row = row
        else:
            row.state = self._initial
        self.streams += 1
        self.scheduler.add(row)

    def stop(self, row: Row) -> None:
        """Compute no more of a row; it must still be released."""
        self._take_out(row)
        self.scheduler.remove(row)

    def release(self, row: Row) -> None:
        """Let go of a row, and of its session, which is left at the last delivered position."""
        self.streams -= 1
        self.stop(row)
        if session := row.session:
            if row.state is not None and row.can_advance_session():
                self._advance([row], row.state[None])
            row.keep_delivered()
            session.row = None
            self.residency.rest(session)

    def _deliver(self, rows: Sequence[Row], samples: Samples, record: Slice) -> list[Row]:
        """Let rows take their samples and tell what came of them; return those that told."""
        told, now = [], samples.ended_at
        pause_s = self.scheduler.pause_s(samples)
        for row in rows:
            self._table.catch_up(row, record)
            if delivery := row.tell(now):
                record.generated_tokens += len(delivery.text)
                record.deliveries.append(delivery)
                told.append(row)
            self._table.plan(row, row.told_at + pause_s)
        return told

    def _note_waits(self, joining: Sequence[Row], now: float) -> None:
        """Note how long rows have waited that run for the first time."""
        for row in joining:
            if row.chosen_at is None:
                row.chosen_at = now
                self._record.queue_waits_s.append(now - row.arrived)

    def _advance_sessions(self, rows: Sequence[Row]) -> None:
        """Let sessions follow to their rows' states, where everything up to there was delivered."""
        followers = [row for row in rows if row.session is not None and row.can_advance_session()]
        if followers:
            self._advance(followers, self._table.states_of(followers))

    def _advance(self, rows: Sequence[Row], states: Floats) -> None:
        """Give sessions the states of their rows, f32[len(rows), S]."""
        self.residency.write([row.session for row in rows if row.session], states)
        for row, state in zip(rows, states, strict=True):
            row.advance_session()
            if row.session and row.session.history.wants_checkpoint(row.consumed):
                self.residency.keep(row.session, Checkpoint(row.consumed, state.tobytes()))

    def _take_out(self, row: Row) -> None:
        """Take a row out of the batch, with its state if that may still be needed."""
        if row.place != NOWHERE:
            if not row.is_finished or row.session is not None:
                row.state = self._table.state_of(row)
            self._table.leave(row)

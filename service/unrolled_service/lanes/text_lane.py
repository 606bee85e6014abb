"""The rows of a bundle that gives tokens: the cell and the sampler run as one, and the batch stays in place."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from unrolled_service.graphs.program import Program
from unrolled_service.graphs.rehearsal import rehearse_tokens
from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.lane import STAGES, Lane
from unrolled_service.lanes.pace import try_out
from unrolled_service.lanes.table import Table, count_inputs
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.row import NOWHERE, Row
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.text_row import TextRow
from unrolled_service.settings import Settings


class TextLane(Lane):
    """Rows whose outputs are tokens.

    Args:
        bundle: what is served.
        program: its cell with the sampler.
        settings: limits of rows, steps, streams and sessions.
    """

    def __init__(self, bundle: Bundle, program: Program, settings: Settings) -> None:
        pace = try_out(partial(rehearse_tokens, program), settings.max_rows)
        super().__init__(bundle, program.initial, pace, settings)
        self._program = program
        size = len(program.initial)
        self._table = Table(size, len(bundle.vocabulary), settings.max_rows, settings.max_steps)

    def slice(self, now: float, before_run: Callable[[], None]) -> Slice | None:
        """Advance every chosen row by up to K steps; see ``Lane.slice``."""
        marks = [time.perf_counter()]
        record = self._record
        self._make_way(record, now)
        joining = self.scheduler.choose(now)
        rows = self._table.arrange(cast(list[TextRow], joining), record)
        if not rows:
            return self._close_record(0, 0, marks * (1 + len(STAGES))) if record.deliveries else None
        steps = self.scheduler.steps(rows, self._table.steps_left, self._table.attended)
        marks.append(time.perf_counter())
        self._note_waits(joining, now + marks[1] - marks[0])
        self._advance_sessions(self._table.attended)
        batch, state = self._table.batch(rows, steps)
        before_run()
        marks.append(time.perf_counter())
        outcome = self._program.run(batch, state)
        marks.append(time.perf_counter())
        started, _, gathered, ran = marks
        samples = Samples(
            outcome.tokens,
            outcome.descriptions,
            self.bundle.vocabulary.decode(outcome.tokens),
            ended_at=now + ran - started,
            step_s=(ran - gathered) / steps,
            traced=batch.extras.traced if batch.extras else None,
            trace=outcome.trace,
        )
        if batch.extras is not None:
            count_inputs(rows, batch, outcome)
        if self.scheduler.is_limited:
            self.scheduler.spend(rows, self._table.steps_of(rows, steps), samples.ended_at)
        told = self._deliver(self._table.step(outcome, samples, record), samples, record)
        marks.append(time.perf_counter())
        for row in self.scheduler.settle(told):
            self._take_out(row)
        marks.append(time.perf_counter())
        return self._close_record(len(rows), steps, marks)

    def _make_way(self, record: Slice, now: float) -> None:
        """Take rows out of the batch whose places others get, after they have told what came of their samples."""
        for row in cast(list[TextRow], self.scheduler.make_way(now)):
            self._table.catch_up(row, record)
            self._tell(row, now, record)
            self._take_out(row)

    def _deliver(self, rows: Sequence[TextRow], samples: Samples, record: Slice) -> list[TextRow]:
        """Let rows tell what came of their samples; return those that told."""
        now = samples.ended_at
        told = [row for row in rows if self._tell(row, now, record)]
        self._table.plan(now + self.scheduler.pause_s(samples))
        return told

    def _tell(self, row: TextRow, now: float, record: Slice) -> bool:
        delivery = row.tell(now)
        if delivery:
            record.generated_tokens += len(delivery.text)
            record.deliveries.append(delivery)
        return delivery is not None

    def _state_of(self, row: Row) -> Floats:
        return self._table.state_of(cast(TextRow, row))

    def _take_out(self, row: Row) -> None:
        if row.place != NOWHERE:
            text_row = cast(TextRow, row)
            if not row.is_finished or row.session is not None:
                row.state = self._table.state_of(text_row)
            self._table.leave(text_row)

"""The rows of a bundle, or of an encoder, whose outputs are no tokens: gathered anew for every slice.

Rows take different numbers of steps in one run, each as many as it has inputs for: the program freezes
those that are through.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.rehearsal import rehearse_inputs
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceOutcome, SequenceProgram
from unrolled_service.graphs.state import Floats
from unrolled_service.lanes.lane import Lane
from unrolled_service.lanes.pace import try_out
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.row import Row
from unrolled_service.rows.sequence_row import Part, SequenceRow
from unrolled_service.rows.slice import Slice
from unrolled_service.settings import Settings


class SequenceLane(Lane):
    """Rows whose outputs are labels, vectors or states.

    Args:
        bundle: what is served.
        program: its cell, or its encoder's.
        settings: limits of rows, steps, streams and sessions.
    """

    def __init__(self, bundle: Bundle, program: SequenceProgram, settings: Settings) -> None:
        pace = try_out(partial(rehearse_inputs, program), settings.max_rows)
        super().__init__(bundle, program.initial, pace, settings)
        self._program = program
        self._rows: dict[SequenceRow, None] = {}
        self._ending: list[SequenceRow] = []

    def slice(self, now: float, before_run: Callable[[], None]) -> Slice | None:
        """Advance every chosen row by up to K steps; see ``Lane.slice``."""
        marks = [time.perf_counter()]
        for row in self.scheduler.make_way(now):
            self._leave(cast(SequenceRow, row))
        record, joining = self._record, cast(list[SequenceRow], self.scheduler.choose(now))
        self._rows |= dict.fromkeys(joining)
        rows = list(self._rows)
        if not (rows or self._ending):
            return None
        steps = self.scheduler.steps(rows, [row.steps_left for row in rows], rows) if rows else 0
        marks.append(time.perf_counter())
        self._note_waits(joining, now + marks[1] - marks[0])
        self._advance_sessions(rows)
        taken = [min(row.steps_left, steps) for row in rows]
        batch = self._gather(rows, taken, steps) if rows else None
        before_run()
        marks.append(time.perf_counter())
        outcome = self._program.run(batch, _states_of(rows)) if batch else None
        marks.append(time.perf_counter())
        started, _, gathered, ran = marks
        ended_at = now + ran - started
        if self.scheduler.is_limited:
            self.scheduler.spend(rows, taken, ended_at)
        if outcome and batch:
            self._hand_out(outcome, batch, rows, taken, ended_at, (ran - gathered) / steps)
        record.deliveries += [news for row in (*rows, *self._ending) if (news := row.tell(ended_at))]
        self._ending.clear()
        marks.append(time.perf_counter())
        for row in self.scheduler.settle(rows):
            self._leave(cast(SequenceRow, row))
        marks.append(time.perf_counter())
        return self._close_record(len(rows), steps, marks)

    def end(self, row: SequenceRow) -> None:
        """Let a row tell that it is finished, for which nothing is left to run."""
        self._ending.append(row)
        self.scheduler.remove(row)

    def _gather(self, rows: Sequence[SequenceRow], taken: Sequence[int], steps: int) -> SequenceBatch:
        """Return what the next run takes."""
        size, width = len(rows), self._program.input_width
        inputs: NDArray[np.generic] = (
            np.zeros((steps, size, width), np.float32) if width else np.zeros((steps, size), np.int64)
        )
        for i, row in enumerate(rows):
            head = row.forced[: taken[i]]
            inputs[: len(head), i] = head
        return SequenceBatch(
            inputs=inputs,
            steps=np.array(taken, np.int64),
            forced=np.array([min(len(row.forced), count) for row, count in zip(rows, taken, strict=True)], np.int64),
            last=np.stack([row.last for row in rows]),
            traced=np.unique(np.concatenate([row.traced for row in rows])),
        )

    def _hand_out(
        self,
        outcome: SequenceOutcome,
        batch: SequenceBatch,
        rows: Sequence[SequenceRow],
        taken: Sequence[int],
        ended_at: float,
        step_s: float,
    ) -> None:
        """Give rows their states and their parts of what a run gave."""
        for i, (row, count) in enumerate(zip(rows, taken, strict=True)):
            row.state, row.last = outcome.state[i], outcome.last[i]
            places = np.searchsorted(batch.traced, row.traced)
            part = Part(outcome.outputs[:count, i], outcome.trace[:count, i, places], ended_at, step_s)
            row.take(part, self._record)

    def _state_of(self, row: Row) -> Floats:
        return self.residency.initial.copy() if row.state is None else row.state.copy()

    def _leave(self, row: SequenceRow) -> None:
        """Let a row go with arrays of its own, which keep no batch in memory however long it waits."""
        del self._rows[row]
        row.last = row.last.copy()
        if row.state is not None:
            row.state = row.state.copy()

    def _take_out(self, row: Row) -> None:
        self._rows.pop(cast(SequenceRow, row), None)
        self._ending = [each for each in self._ending if each is not row]


def _states_of(rows: Sequence[SequenceRow]) -> Floats:
    """Return the states of rows in one array, f32[B, S]."""
    return np.stack([row.state for row in rows if row.state is not None])

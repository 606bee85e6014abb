"""The batch between slices: what a run takes of each row, in columns, ready to be handed over.

A row keeps its place as long as it runs, so from one slice to the next nothing is gathered or written back: the
states that a run gives are the states that the next one takes. Runs on the engine's thread.
"""

from collections.abc import Sequence

import numpy as np

from unrolled_service.arena import Floats
from unrolled_service.program import NOT_FORCED, Batch, Extras, Outcome, Tokens
from unrolled_service.row import NOWHERE, Row


class Table:
    """The rows that run.

    Args:
        size: S, elements of one state.
        vocabulary_size: V.
        max_rows: rows at most.
        max_steps: steps of a slice at most.
    """

    def __init__(self, size: int, vocabulary_size: int, max_rows: int, max_steps: int) -> None:
        self._rows: list[Row | None] = []
        self._holes: list[int] = []
        self._state = np.empty((0, size), np.float32)
        self._token = np.empty(max_rows, np.int64)
        self._position = np.empty(max_rows, np.int64)
        self._seed = np.empty(max_rows, np.uint64)
        self._temperature = np.empty((max_rows, 1), np.float32)
        self._forced = np.full(max_rows * max_steps, NOT_FORCED, np.int64)  # but for what the last run took
        self._touched: list[Tokens] = []
        self._vocabulary_size = vocabulary_size

    def arrange(self, joining: Sequence[Row]) -> list[Row]:
        """Take rows in, close the gaps, and return all rows in order."""
        left = list(joining)
        while left and self._holes:
            place, row = self._holes.pop(), left.pop()
            self._state[place] = row.state
            self._put(place, row)
        if left:
            self._state = np.concatenate([self._state, [row.state for row in left]])
            for row in left:
                self._rows.append(None)
                self._put(len(self._rows) - 1, row)
        for place in sorted(self._holes, reverse=True):
            self._close(place)
        self._holes.clear()
        return self._rows  # type: ignore[return-value]  # without holes there is no None

    def leave(self, row: Row) -> None:
        """Let a row go; its last sample goes with it."""
        row.token = int(self._token[row.place])
        self._rows[row.place] = None
        self._holes.append(row.place)
        row.place = NOWHERE

    def state_of(self, row: Row) -> Floats:
        """Return a copy of a row's state, f32[S]."""
        state: Floats = self._state[row.place].copy()
        return state

    def states_of(self, rows: Sequence[Row]) -> Floats:
        """Return copies of several rows' states, f32[len(rows), S]."""
        return self._state[[row.place for row in rows]]

    def batch(self, rows: Sequence[Row], steps: int) -> tuple[Batch, Floats]:
        """Return the arguments of the next run; they are this table's own memory."""
        size = len(rows)
        for column in self._touched:
            column[:] = NOT_FORCED
        forced = self._forced[: steps * size].reshape(steps, size)
        self._touched = [forced[:, row.place] for row in rows if len(row.forced)]
        for column, row in zip(self._touched, (row for row in rows if len(row.forced)), strict=True):
            head = row.forced[:steps]
            column[: len(head)] = head
        batch = Batch(
            token=self._token[:size],
            forced=forced,
            position=self._position[:size],
            seed=self._seed[:size],
            temperature=self._temperature[:size],
            extras=None if all(row.is_plain for row in rows) else self._extras(rows, steps),
        )
        return batch, self._state

    def step(self, outcome: Outcome) -> None:
        """Take in what a run gave."""
        steps, size = outcome.tokens.shape
        self._state = outcome.state
        self._token[:size] = outcome.tokens[-1]
        self._position[:size] += steps

    def _put(self, place: int, row: Row) -> None:
        self._rows[place] = row
        row.place, row.state = place, None
        self._token[place] = row.token
        self._position[place] = row.consumed + 1
        self._seed[place] = row.seed
        self._temperature[place] = row.sampling.temperature

    def _close(self, place: int) -> None:
        """Move the last row into a gap."""
        row, last = self._rows.pop(), len(self._rows)
        if row is not None and place != last:
            for column in (self._state, self._token, self._position, self._seed, self._temperature):
                column[place] = column[last]
            self._rows[place] = row
            row.place = place
        self._state = self._state[:last]

    def _extras(self, rows: Sequence[Row], steps: int) -> Extras:
        counts = np.zeros((len(rows), 2, self._vocabulary_size), np.float32)
        for row in rows:
            if row.counts is not None:
                counts[row.place] = row.counts.reshape(2, -1)
        described = max(row.described for row in rows)
        return Extras(
            sampling=[row.sampling for row in rows],
            fed=np.ascontiguousarray(counts[:, 0]),
            generated=np.ascontiguousarray(counts[:, 1]),
            target=_targets(rows, steps) if described else None,
            described=described,
        )


def _targets(rows: Sequence[Row], steps: int) -> Tokens:
    targets = np.full((steps, len(rows)), -1, np.int64)
    for row in rows:
        given = row.targets(steps)
        targets[: len(given), row.place] = given
    return targets


def count_inputs(rows: Sequence[Row], batch: Batch, outcome: Outcome) -> None:
    """Add what a run fed to the counts of those rows that have them. Call before ``step``."""
    for row in rows:
        if row.counts is not None:
            sampled = np.concatenate([batch.token[row.place, None], outcome.tokens[:-1, row.place]])
            forced = batch.forced[:, row.place]
            inputs = np.where(forced < 0, sampled + len(row.counts) // 2, forced)
            row.counts += np.bincount(inputs, minlength=len(row.counts)).astype(np.float32)

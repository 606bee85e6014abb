"""The batch between slices: what a run takes of each row, in columns, ready to be handed over.

A row keeps its place as long as it runs, so from one slice to the next nothing is gathered or written back: the
states that a run gives are the states that the next one takes. Nor is a row asked after every slice: it
takes its samples when it is time for news, or when it ends. Runs on the engine's thread.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.program import NOT_FORCED, Batch, Extras, Outcome, Tokens
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.row import NOWHERE
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.text_row import TextRow

ALWAYS = -math.inf
_MEMORY = 32  # slices whose samples are kept for rows that take them later


class Table:
    """The rows that run.

    Args:
        size: S, elements of one state.
        vocabulary_size: V.
        max_rows: rows at most.
        max_steps: steps of a slice at most.

    Attributes:
        attended: the rows that are looked at at every slice: they are watched, or have inputs to be fed.
    """

    def __init__(self, size: int, vocabulary_size: int, max_rows: int, max_steps: int) -> None:
        self.attended: dict[TextRow, None] = {}
        self._rows: list[TextRow | None] = []
        self._holes: list[int] = []
        self._demanding = 0  # rows that are not plain
        self._recent: deque[Samples] = deque(maxlen=_MEMORY)
        self._slices = 0
        self._asked = np.empty(0, np.intp)  # places of the rows that ``step`` gave last
        self._seen = np.empty(max_rows, np.int64)  # slices whose samples a row has taken
        self._due = np.empty(max_rows, np.float64)
        self._left = np.empty(max_rows, np.int64)
        self._state = np.empty((0, size), np.float32)
        self._token = np.empty(max_rows, np.int64)
        self._position = np.empty(max_rows, np.int64)
        self._seed = np.empty(max_rows, np.uint64)
        self._temperature = np.empty((max_rows, 1), np.float32)
        self._forced = np.full(max_rows * max_steps, NOT_FORCED, np.int64)  # but for what the last run took
        self._touched: list[Tokens] = []
        self._columns: tuple[NDArray[Any], ...] = (
            *(self._token, self._position, self._seed, self._temperature),
            *(self._seen, self._due, self._left),
        )
        self._vocabulary_size = vocabulary_size

    def arrange(self, joining: Sequence[TextRow], record: Slice) -> list[TextRow]:
        """Take rows in, close the gaps, and return all rows in order."""
        left = list(joining)
        memory = _bytes_of(self._state) if left and self._holes else memoryview(b"")
        while left and self._holes:
            place, row = self._holes.pop(), left.pop()
            state = _bytes_of(row.state)  # copied so, an array would let go of the interpreter's lock
            memory[place * len(state) : (place + 1) * len(state)] = state
            self._put(place, row)
        if left:
            self._state = np.concatenate([self._state, [row.state for row in left]])
            for row in left:
                self._rows.append(None)
                self._put(len(self._rows) - 1, row)
        for place in sorted(self._holes, reverse=True):
            self._close(place, record)
        self._holes.clear()
        return self._rows  # type: ignore[return-value]  # without holes there is no None

    def leave(self, row: TextRow) -> None:
        """Let a row go; its last sample goes with it."""
        row.token = int(self._token[row.place])
        self._rows[row.place] = None
        self._holes.append(row.place)
        self._demanding -= not row.is_plain
        self.attended.pop(row, None)
        row.place = NOWHERE

    def state_of(self, row: TextRow) -> Floats:
        """Return a copy of a row's state, f32[S]."""
        state: Floats = self._state[row.place].copy()
        return state

    def batch(self, rows: Sequence[TextRow], steps: int) -> tuple[Batch, Floats]:
        """Return the arguments of the next run; they are this table's own memory."""
        size = len(rows)
        for column in self._touched:
            column[:] = NOT_FORCED
        forced = self._forced[: steps * size].reshape(steps, size)
        self._touched.clear()
        for row in self.attended:
            if len(row.forced):
                column, head = forced[:, row.place], row.forced[:steps]
                column[: len(head)] = head
                self._touched.append(column)
        batch = Batch(
            token=self._token[:size],
            forced=forced,
            position=self._position[:size],
            seed=self._seed[:size],
            temperature=self._temperature[:size],
            extras=self._extras(rows, steps) if self._demanding else None,
        )
        return batch, self._state

    @property
    def steps_left(self) -> list[int]:
        """Steps until the last token that each row wants."""
        return self._left[: len(self._rows)].tolist()  # type: ignore[no-any-return]

    def steps_of(self, rows: Sequence[TextRow], steps: int) -> Iterable[int]:
        """Return how many of the next steps count for each row: none after the last token that it wants."""
        return np.minimum(self._left[: len(rows)], steps).tolist()  # type: ignore[no-any-return]

    def step(self, outcome: Outcome, samples: Samples, record: Slice) -> list[TextRow]:
        """Take in what a run gave; return the rows that must take their samples now, and have done so."""
        size, steps = samples.rows, samples.steps
        self._state = outcome.state
        self._token[:size] = outcome.tokens[-1]
        self._position[:size] += steps
        self._left[:size] -= steps
        self._recent.append(samples)
        self._slices += 1
        forgotten = self._slices - _MEMORY
        is_due = (self._due[:size] <= samples.ended_at) | (self._left[:size] <= 0) | (self._seen[:size] <= forgotten)
        (self._asked,) = is_due.nonzero()
        missed = self._slices - self._seen[self._asked]
        self._seen[self._asked] = self._slices
        asked = []
        for place, slices in zip(self._asked.tolist(), missed.tolist(), strict=True):
            if row := self._rows[place]:
                self._hand(row, slices, record)
                asked.append(row)
        return asked

    def catch_up(self, row: TextRow, record: Slice) -> None:
        """Let a row take the samples that it has not taken."""
        if missed := self._slices - int(self._seen[row.place]):
            self._seen[row.place] = self._slices
            self._hand(row, missed, record)

    def plan(self, due: float) -> None:
        """Say when the rows that have just taken their samples are to take them next, if nothing else makes them."""
        self._due[self._asked] = due
        for row in list(self.attended):
            if row.is_watched or len(row.forced):
                self._due[row.place] = ALWAYS
            else:
                del self.attended[row]

    def _hand(self, row: TextRow, missed: int, record: Slice) -> None:
        """Let a row take the samples of so many slices; one that is watched has missed but one."""
        place, last = row.place, self._recent[-1]
        if row.is_watched or len(row.forced):
            row.take(last, place, record)
        elif missed == 1:
            row.take_text(last.text[place :: last.rows], last, record)
        else:
            recent = [self._recent[i] for i in range(-missed, 0)]
            row.take_text("".join([each.text[place :: each.rows] for each in recent]), last, record)

    def _put(self, place: int, row: TextRow) -> None:
        self._rows[place] = row
        row.place, row.state = place, None
        self.attended[row] = None
        self._demanding += not row.is_plain
        self._token[place] = row.token
        self._position[place] = row.consumed + 1
        self._seed[place] = row.seed
        self._temperature[place] = row.sampling.temperature
        self._left[place] = row.steps_left
        self._seen[place] = self._slices
        self._due[place] = ALWAYS

    def _close(self, place: int, record: Slice) -> None:
        """Move the last row into a gap."""
        last = len(self._rows) - 1
        row = self._rows[last]
        if row is not None and place != last:
            self.catch_up(row, record)  # what was sampled stands at its old place
            self._state[place] = self._state[last]
            for column in self._columns:
                column[place] = column[last]
            self._rows[place] = row
            row.place = place
        self._rows.pop()
        self._state = self._state[:last]

    def _extras(self, rows: Sequence[TextRow], steps: int) -> Extras:
        asking = [row for row in rows if not row.is_plain]
        counts = np.zeros((len(asking), 2, self._vocabulary_size), np.float32)
        for count, row in zip(counts, asking, strict=True):
            if row.counts is not None:
                count[:] = row.counts.reshape(2, -1)
        described = max(row.described for row in asking)
        traced = np.unique(np.concatenate([row.traced for row in asking]))
        return Extras(
            rows=np.array([row.place for row in asking], np.int64),
            sampling=[row.sampling for row in asking],
            fed=np.ascontiguousarray(counts[:, 0]),
            generated=np.ascontiguousarray(counts[:, 1]),
            target=_targets(asking, steps) if described else None,
            described=described,
            traced=traced if len(traced) else None,
        )


def _bytes_of(states: Floats | None) -> memoryview:
    return memoryview(states).cast("B")  # type: ignore[arg-type]


def _targets(rows: Sequence[TextRow], steps: int) -> Tokens:
    targets = np.full((steps, len(rows)), -1, np.int64)
    for i, row in enumerate(rows):
        given = row.targets(steps)
        targets[: len(given), i] = given
    return targets


def count_inputs(rows: Sequence[TextRow], batch: Batch, outcome: Outcome) -> None:
    """Add what a run fed to the counts of those rows that have them. Call before ``step``."""
    for row in rows:
        if row.counts is not None:
            sampled = np.concatenate([batch.token[row.place, None], outcome.tokens[:-1, row.place]])
            forced = batch.forced[:, row.place]
            inputs = np.where(forced < 0, sampled + len(row.counts) // 2, forced)
            row.counts += np.bincount(inputs, minlength=len(row.counts)).astype(np.float32)

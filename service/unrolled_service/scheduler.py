"""Chooses the rows of the next slice and how many steps they run.

Streams join and leave between slices. One whose reader is too far behind rests: it holds its state
but no row. Runs on the engine's thread.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

from unrolled_service.row import Row

_UNKNOWN_STEP_S = 0.0005
_SHORTEST_STEP_S = 1e-7
_LEARNING_RATE = 0.2
_OVERHEAD_SHARE = 0.05
_MESSAGES_PER_S = 5000


class Scheduler:
    """The streams of one bundle.

    Args:
        max_rows: rows a slice has at most.
        max_steps: steps a slice has at most.
        slice_s: how long a slice should take.
        credit: unread characters past which a stream rests; it returns at half of it.
    """

    def __init__(self, *, max_rows: int, max_steps: int, slice_s: float, credit: int) -> None:
        self._max_rows = max_rows
        self._max_steps = max_steps
        self._slice_s = slice_s
        self._credit = credit
        self._running: list[Row] = []
        self._waiting: deque[Row] = deque()
        self._resting: list[Row] = []
        self._step_s: dict[int, float] = {}
        self._overhead_s: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting) + len(self._resting)

    def __iter__(self) -> Iterator[Row]:
        return chain(self._running, self._waiting, self._resting)

    @property
    def running(self) -> int:
        """Streams with a row."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Streams that want a row."""
        return len(self._waiting)

    @property
    def resting(self) -> int:
        """Streams that wait for their readers."""
        return len(self._resting)

    def add(self, stream: Row) -> None:
        """Take in a new stream."""
        self._waiting.append(stream)

    def remove(self, stream: Row) -> None:
        """Let go of a stream, whatever it does; nothing happens if it left before."""
        for place in (self._running, self._waiting, self._resting):
            if stream in place:
                place.remove(stream)

    def choose(self) -> list[Row]:
        """Return the rows of the next slice; empty if there is nothing to do."""
        for stream in [each for each in self._resting if each.unread <= self._credit // 2]:
            self._resting.remove(stream)
            self._waiting.appendleft(stream)
        while self._waiting and len(self._running) < self._max_rows:
            self._running.append(self._waiting.popleft())
        return self._running

    def steps(self, rows: Sequence[Row]) -> int:
        """Return K for a slice of these rows.

        As many steps as fit the time budget, or more where rows are so many that their messages would keep
        the event loop from its other work; but not past the last token anybody wants. A slice ends early
        where a stream gets its first token, or where a caller asked for news, but not so early that what a
        slice costs beside its run is more than a twentieth of it: a crowd of newcomers, or one caller in a
        hurry, does not cut everybody's slices to pieces.
        """
        size = len(rows).bit_length()
        step_s = self._step_s.get(size, _UNKNOWN_STEP_S)
        slice_s = max(self._slice_s, len(rows) / _MESSAGES_PER_S)
        steps = min(int(slice_s / step_s), self._max_steps, max(row.steps_left for row in rows))
        first_tokens = (len(row.forced) for row in rows if row.first_token_at is None)
        wanted = (row.patience for row in rows if row.patience)
        early = min(chain(first_tokens, wanted), default=steps)
        worthwhile = int(self._overhead_s.get(size, 0.0) / _OVERHEAD_SHARE / step_s) if len(rows) > 1 else 1
        return max(1, min(steps, max(early, worthwhile)))

    def learn(self, rows: int, steps: int, run_s: float, overhead_s: float) -> None:
        """Take in what a slice took: its run, and all beside it. Estimates are kept per power of two of the rows."""
        size = rows.bit_length()
        for known, seconds in ((self._step_s, max(run_s / steps, _SHORTEST_STEP_S)), (self._overhead_s, overhead_s)):
            before = known.get(size, seconds)
            known[size] = before + _LEARNING_RATE * (seconds - before)

    def settle(self) -> None:
        """Take the rows away from streams that are finished or too far ahead of their readers."""
        staying: list[Row] = []
        for stream in self._running:
            if stream.is_finished:
                continue
            (self._resting if stream.unread > self._credit else staying).append(stream)
        self._running = staying

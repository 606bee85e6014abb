"""Chooses the rows of the next slice and how many steps they run.

Streams join and leave between slices. One whose reader is too far behind rests: it holds its state
but no row. So does one that waits for inputs of its caller. Runs on the engine's thread.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from unrolled_service.rows.row import Row
from unrolled_service.rows.slice import Samples

_UNKNOWN_STEP_S = 0.0005
_SHORTEST_STEP_S = 1e-7
_LEARNING_RATE = 0.2
_OVERHEAD_SHARE = 0.03
_HURRY_S = 0.0025
_MESSAGES_PER_S = 3500
_ROWS_PER_S = 10_000


class Scheduler:
    """The streams of one bundle.

    Args:
        max_rows: rows a slice has at most.
        max_steps: steps a slice has at most.
        slice_s: how long a slice should take at most.
        pause_s: how long text gathers before it travels.
        credit: unread characters past which a stream rests; it returns at half of it.
    """

    def __init__(self, *, max_rows: int, max_steps: int, slice_s: float, pause_s: float, credit: int) -> None:
        self._max_rows = max_rows
        self._max_steps = max_steps
        self._slice_s = slice_s
        self._pause_s = pause_s
        self._credit = credit
        self._running: dict[Row, None] = {}
        self._waiting: deque[Row] = deque()
        self._resting: list[Row] = []
        self._starved: dict[Row, None] = {}
        self._step_s: dict[int, float] = {}
        self._overhead_s: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting) + len(self._resting) + len(self._starved)

    def __iter__(self) -> Iterator[Row]:
        return chain(self._running, self._waiting, self._resting, self._starved)

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
        """Streams that wait for their readers, or for inputs."""
        return len(self._resting) + len(self._starved)

    def add(self, stream: Row) -> None:
        """Take in a new stream."""
        if stream.is_starved:
            self._starved[stream] = None
        else:
            self._waiting.append(stream)

    def feed(self, stream: Row) -> None:
        """Note that a stream has got inputs; nothing happens if it did not wait for them."""
        if stream in self._starved:
            del self._starved[stream]
            self._waiting.append(stream)

    def remove(self, stream: Row) -> None:
        """Let go of a stream, whatever it does; nothing happens if it left before."""
        self._running.pop(stream, None)
        self._starved.pop(stream, None)
        for place in (self._waiting, self._resting):
            if stream in place:
                place.remove(stream)

    def choose(self) -> list[Row]:
        """Return the streams that get a row for the next slice and had none before."""
        for stream in [each for each in self._resting if each.unread <= self._credit // 2]:
            self._resting.remove(stream)
            if stream.is_starved:
                self._starved[stream] = None
            else:
                self._waiting.appendleft(stream)
        joining = []
        while self._waiting and len(self._running) < self._max_rows:
            joining.append(self._waiting.popleft())
            self._running[joining[-1]] = None
        return joining

    def steps(self, rows: Sequence[Row], wanted: int) -> int:
        """Return K for a slice of these rows, whose last wanted token is so many steps away.

        Newcomers wait for the slice in progress, so it is as short as it can be without its own cost, what it
        takes beside its run, coming to more than 3 % of it; never longer than the time budget, or 0.1 ms a row
        where that is more, and not past the last token anybody wants. It ends earlier for a stream that runs alone
        and is to get its first token, or whose caller is in a hurry; and with the first tokens of others, if that makes
        it no less than half as long.
        """
        size = len(rows).bit_length()
        step_s = self._step_s.get(size, _UNKNOWN_STEP_S)
        worthwhile = math.ceil(self._overhead_s.get(size, 0.0) / _OVERHEAD_SHARE / step_s)
        if len(rows) == 1:
            (row,) = rows
            if row.first_token_at is None:
                worthwhile = len(row.forced)
            elif row.is_hurried:
                worthwhile = int(_HURRY_S / step_s)
        slice_s = max(self._slice_s, len(rows) / _ROWS_PER_S)
        steps = max(1, min(round(slice_s / step_s), worthwhile, self._max_steps, wanted))
        firsts = [fed for row in rows if steps <= 2 * (fed := len(row.forced)) <= 2 * steps]
        return max(firsts, default=steps)

    def pause_s(self, samples: Samples) -> float:
        """Return how long text gathers.

        It is the setting, or more where rows are so many that their messages would keep the event loop from
        its other work; but no longer than half of what a reader may leave unread takes to come.
        """
        return min(max(self._pause_s, samples.rows / _MESSAGES_PER_S), self._credit / 2 * samples.step_s)

    def learn(self, rows: int, steps: int, stages_s: Mapping[str, float]) -> None:
        """Take in what the beats of a slice took. Estimates are kept per power of two of the rows."""
        size, run_s = rows.bit_length(), stages_s["run"]
        overhead_s = sum(stages_s.values()) - run_s
        for known, seconds in ((self._step_s, max(run_s / steps, _SHORTEST_STEP_S)), (self._overhead_s, overhead_s)):
            before = known.get(size, seconds)
            known[size] = before + _LEARNING_RATE * (seconds - before)

    def settle(self, told: Iterable[Row]) -> list[Row]:
        """Take the rows away from streams that are finished, starved or too far ahead of their readers; return those.

        Args:
            told: the running streams that had news; nothing has changed for the others.
        """
        leaving = []
        for stream in told:
            is_behind = stream.unread > self._credit  # looked at once: its reader reads on meanwhile
            if not (stream.is_finished or stream.is_starved or is_behind):
                continue
            leaving.append(stream)
            del self._running[stream]
            if is_behind and not stream.is_finished:
                self._resting.append(stream)
            elif stream.is_starved:
                self._starved[stream] = None
        return leaving

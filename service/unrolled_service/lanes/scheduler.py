"""Chooses the rows of the next slice and how many steps they run.

Streams join and leave between slices. One whose reader is too far behind rests: it holds its state
but no row. So does one that waits for inputs of its caller, and one whose tenant has had as many tokens as it may. Runs
on the engine's thread; its numbers, and ``wait_s``, may be read from any.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from unrolled_service.lanes.pace import Pace
from unrolled_service.lanes.places import Places
from unrolled_service.rows.row import Row
from unrolled_service.rows.slice import Samples
from unrolled_service.tenants.terms import Terms

_OVERHEAD_SHARE = 0.03
_HURRY_S = 0.0025
_MESSAGES_PER_S = 3500
_CROWDED_MESSAGES_PER_S = 1000
_ROWS = 100  # that a slice of the set length has; with more it is longer in proportion


class Scheduler:
    """The streams of one bundle.

    Args:
        pace: what is known of how long slices take.
        max_rows: rows a slice has at most.
        max_steps: steps a slice has at most.
        slice_s: how long a slice should take at most.
        pause_s: how long text gathers before it travels.
        credit: unread characters past which a stream rests; it returns at half of it.
        turn_s: how long a stream keeps its row while others wait.
        ageing_s: how much later a stream of batch priority counts as having come.

    Attributes:
        pace: as given; whoever runs the slices tells it what they took.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        max_rows: int,
        max_steps: int,
        slice_s: float,
        pause_s: float,
        credit: int,
        turn_s: float,
        ageing_s: float,
    ) -> None:
        self.pace = pace
        self._max_rows = max_rows
        self._max_steps = max_steps
        self._slice_s = slice_s
        self._pause_s = pause_s
        self._credit = credit
        self._turn_s = turn_s
        self._places = Places(max_rows, turn_s, ageing_s, worth=pace.worth)
        self._resting: dict[Row, None] = {}
        self._starved: dict[Row, None] = {}
        self._limited = 0  # streams whose tenants have budgets
        self._now = -math.inf

    def __len__(self) -> int:
        return self.running + self.waiting + self.resting

    def __iter__(self) -> Iterator[Row]:
        return chain(self._places, self._places.line, self._resting, self._starved)

    @property
    def running(self) -> int:
        """Streams with a row."""
        return len(self._places)

    @property
    def waiting(self) -> int:
        """Streams that want a row."""
        return len(self._places.line)

    @property
    def waiting_steps(self) -> int:
        """Steps that waiting streams have before them: inputs to feed, and outputs to give."""
        return self._places.line.steps

    @property
    def resting(self) -> int:
        """Streams that wait for their readers, for inputs, or for their tenants' budgets."""
        return len(self._resting) + len(self._starved)

    @property
    def is_limited(self) -> bool:
        """Whether there are streams whose tenants have budgets."""
        return self._limited > 0

    @property
    def has_room(self) -> bool:
        """Whether a new stream would get a row at once."""
        return self.running + self.waiting < self._max_rows

    @property
    def is_crowded(self) -> bool:
        """Whether more streams want to run than may. Any thread may ask."""
        return self.running + self.waiting > self._max_rows

    def add(self, stream: Row) -> None:
        """Take in a new stream."""
        self._limited += stream.terms.budget is not None
        if stream.is_starved:
            self._starved[stream] = None
        else:
            self._places.wait(stream, stream.arrived)

    def feed(self, stream: Row) -> None:
        """Note that a stream has got inputs; nothing happens if it did not wait for them."""
        if stream in self._starved:
            del self._starved[stream]
            self._places.wait(stream, self._now)

    def remove(self, stream: Row) -> None:
        """Let go of a stream, whatever it does; nothing happens if it left before."""
        if self._places.leave(stream) or stream in self._resting or stream in self._starved:
            self._resting.pop(stream, None)
            self._starved.pop(stream, None)
            self._limited -= stream.terms.budget is not None

    def make_way(self, now: float) -> list[Row]:
        """Take the rows away from streams that may not go on, or whose turn is over while others wait; return those.

        Args:
            now: engine time.
        """
        self._now = now
        spent = [row for row in self._places if _seconds_left(row, now)] if self._limited else []
        for stream in spent:
            self._places.leave(stream)
            self._resting[stream] = None
        if self._resting:
            self._rouse(now)
        return spent + self._places.make_way(now)

    def choose(self, now: float) -> list[Row]:
        """Return the streams that get a row for the next slice and had none before. Comes after ``make_way``."""
        rows = min(self._max_rows, self.running + self.waiting)
        return self._places.fill(now, min(self._longest_s(rows) / self.pace.step_s(rows), self._max_steps))

    def spend(self, rows: Iterable[Row], steps: Iterable[int], now: float) -> None:
        """Let tenants' budgets pay for what a slice did, steps of each row."""
        for row, taken in zip(rows, steps, strict=True):
            if row.terms.budget:
                row.terms.budget.spend(taken, now)

    def seconds_to_rouse(self, now: float) -> float | None:
        """Return the seconds until a budget lets a stream go on that rests for want of it, or None."""
        if not self._limited:
            return None
        return min(filter(None, (_seconds_left(row, now) for row in self)), default=None)

    def may_wait(self, tenant: str, steps: int, limit: int) -> bool:
        """Return whether a new stream may wait with so many steps before it.

        It may while no more than the limit wait with it, or no more than its tenant's part of that if all had the same.
        Any thread may call it.
        """
        line = self._places.line
        if line.steps + steps <= limit:
            return True
        tenants = self._places.tenants + (tenant not in line.tenants)
        return tenants > 1 and (line.of(tenant)[1] + steps) * tenants <= limit

    def wait_s(self, terms: Terms, steps: int) -> float:
        """Return about how long a new stream would wait until it has run so many steps; rather too short than too long.

        Those of its tenant that wait before it have a turn each, or what is left of them if that is less, side by side
        on the tenant's share of the rows. Half of that counts: streams end before their time. Any thread may call it.
        """
        step_s = self.pace.step_s(max(1, self.running))
        own_s = steps * step_s
        if self.has_room or not self.running:  # those that wait are about to get their places
            return own_s / 2
        rows, waiting_steps = self._places.line.of(terms.tenant)
        before_s = min(waiting_steps * step_s, rows * self._turn_s) * self._places.tenants / self._max_rows
        return (before_s + own_s) / 2

    def steps(self, rows: Sequence[Row], left: Sequence[int], feeding: Iterable[Row]) -> int:
        """Return K for a slice.

        Newcomers wait for the slice in progress, so it is as short as it can be without its own cost, what it
        takes beside its run, coming to more than 3 % of it; never longer than the time budget, with more than 100 rows
        a hundredth of it for each, and not past the last token anybody wants. It ends earlier for a stream that runs
        alone and is to get its first token, or whose caller is in a hurry; and with the first tokens of others, if that
        makes it no less than half as long. Where rows end before, it ends with that one of them after which it would
        give fewer wanted steps a second: those that have ended compute for nothing until the others are through.

        Args:
            rows: of the slice.
            left: steps until the last output that each of them wants.
            feeding: those of the rows that have inputs to be fed, perhaps with others.
        """
        step_s = self.pace.step_s(len(rows))
        overhead = self.pace.overhead_s(len(rows)) / step_s
        worthwhile = math.ceil(overhead / _OVERHEAD_SHARE)
        if len(rows) == 1:
            (row,) = rows
            if row.first_token_at is None:
                worthwhile = len(row.forced)
            elif row.is_hurried:
                worthwhile = int(_HURRY_S / step_s)
        steps = max(1, min(round(self._longest_s(len(rows)) / step_s), worthwhile, self._max_steps, max(left)))
        firsts = [fed for row in feeding if steps <= 2 * (fed := len(row.forced)) <= 2 * steps]
        return _most_useful(left, max(firsts, default=steps), overhead)

    def pause_s(self, samples: Samples) -> float:
        """Return how long text gathers.

        It is the setting, or more where rows are so many that their messages would keep the event loop from
        its other work, of which there is more where it is crowded; but no longer than half of what a reader may leave
        unread takes to come.
        """
        messages_per_s = _CROWDED_MESSAGES_PER_S if self.is_crowded else _MESSAGES_PER_S
        return min(max(self._pause_s, samples.rows / messages_per_s), self._credit / 2 * samples.step_s)

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
            self._places.leave(stream)
            if stream.is_finished:
                self._limited -= stream.terms.budget is not None
            elif is_behind:
                self._resting[stream] = None
            else:
                self._starved[stream] = None
        return leaving

    def _longest_s(self, rows: int) -> float:
        """Return how long a slice of so many rows may take: half as long while tenants compete for places."""
        longest_s = self._slice_s * max(1.0, rows / _ROWS)
        return longest_s / 2 if self._places.is_contended else longest_s

    def _rouse(self, now: float) -> None:
        """Let streams go on that rested, whose readers have caught up and whose budgets allow it."""
        roused = [row for row in self._resting if row.unread <= self._credit // 2 and not _seconds_left(row, now)]
        for stream in reversed(roused):
            del self._resting[stream]
            if stream.is_starved:
                self._starved[stream] = None
            else:
                self._places.come_back(stream, now)


def _most_useful(left: Sequence[int], most: int, overhead: float) -> int:
    """Return the steps, ``most`` or until a row ends before, that give most wanted steps for their time.

    Args:
        left: wanted steps of each row.
        most: steps at most.
        overhead: what a slice takes beside its steps, in steps.
    """
    best, best_rate, gone = most, 0.0, 0
    ends = sorted(steps for steps in left if 0 < steps < most)
    for ended, steps in enumerate([*ends, most]):
        rate = (gone + steps * (len(left) - ended)) / (steps + overhead)
        if rate >= best_rate:
            best, best_rate = steps, rate
        gone += steps
    return best


def _seconds_left(row: Row, now: float) -> float:
    """Return the seconds until a row's tenant may have tokens again."""
    return row.terms.budget.seconds_left(now) if row.terms.budget else 0.0

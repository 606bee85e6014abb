"""Who has a place in the batch where there are more rows than places.

Tenants share the places: whoever has fewest for its weight gets the next one, and those who have most give some of
theirs up. While they do, no more places are used than are worth it: more rows would only make everybody's steps longer.
Among the rows of one tenant a place goes to who waits longest, and a row whose turn is over makes way for one that
waits. Where everybody has a place none of this costs anything. Runs on the engine's thread; its numbers may be read
from any.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from unrolled_service.lanes.line import Line
from unrolled_service.rows.row import Row

_FEW = 4
_LEAST_SHARE = 1 / 8
_SLACK = 1.25


class Places:
    """The rows that run, in the order in which they came, and the line of those that wait.

    Args:
        number: of places.
        turn_s: how long a row keeps its place while others wait.
        ageing_s: how much later a row of batch priority counts as having come.
        worth: how many rows give most of what any number of rows would.

    Attributes:
        line: the rows that wait.
    """

    def __init__(self, number: int, turn_s: float, ageing_s: float, *, worth: int) -> None:
        self.line = Line()
        self._worth = worth
        self._number = self._open = number
        self._made_way = 0  # rows that did so for the slice that is to come
        self._shared_until = -math.inf
        self._turn_s = turn_s
        self._ageing_s = ageing_s
        self._running: dict[Row, None] = {}
        self._taken: Counter[str] = Counter()  # by tenant

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._running)

    @property
    def is_contended(self) -> bool:
        """Whether tenants compete, so that no more places are used than are worth it."""
        return self._open < self._number

    @property
    def tenants(self) -> int:
        """Tenants with rows. Any thread may call it."""
        return len({*self._taken.copy(), *self.line.tenants})

    def wait(self, row: Row, since: float) -> None:
        """Let a row wait for its next turn."""
        row.waits_since = since + self._ageing_s if row.terms.is_batch else since
        row.turn_ends = -math.inf
        self.line.add(row)

    def come_back(self, row: Row, now: float) -> None:
        """Let a row wait that had left its place in the middle of its turn, before those that have had none."""
        if row.turn_ends <= now:
            self.wait(row, now)
        else:
            self.line.add(row, at_front=True)

    def leave(self, row: Row) -> bool:
        """Give a row's place, in the batch or in the line, to others; return whether it had one."""
        if row not in self._running:
            return self.line.remove(row)
        del self._running[row]
        tenant = row.terms.tenant
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        return True

    def fill(self, now: float, slice_steps: float = math.inf) -> list[Row]:
        """Give free places to rows that wait; return those. Comes after ``make_way``.

        Args:
            now: engine time.
            slice_steps: about as many as a slice has. Those that begin together end together, so no more do than would
                end in a slice if all were spread evenly, and some more; but an eighth may where all have places. Who
                takes the place of a row that made way is not held back.
        """
        if not self.line:
            return []
        wanted = len(self._running) + len(self.line)
        rows = min(wanted, self._open)
        least = self._made_way + (_FEW if wanted > rows else max(_FEW, rows * _LEAST_SHARE))
        line, joining, order = self.line, list[Row](), count()
        turns = [(self._share_with_next(tenant), next(order), tenant) for tenant in self._contenders(now)]
        heapify(turns)
        while turns and len(self._running) < self._open:
            _, _, tenant = heappop(turns)
            row = line.first(tenant)
            slices = max(1.0, row.steps_left / slice_steps)
            if len(joining) >= max(least, _SLACK * rows / slices):
                continue
            line.take(row)
            if row.turn_ends <= now:
                row.turn_ends = now + self._turn_s
            self._running[row] = None
            self._taken[tenant] += 1
            joining.append(row)
            if line.has(tenant):
                heappush(turns, (self._share_with_next(tenant), next(order), tenant))
        return joining

    def make_way(self, now: float) -> list[Row]:
        """Take places from rows for the sake of some that wait; return the former, which wait from now on."""
        self._made_way = 0
        if not self.line:
            self._open = self._number
            return []
        tenants = self._contenders(now)
        self._open = self._count_open(tenants, now)
        if len(self._running) < self._open:
            return []
        gained: Counter[str] = Counter()
        leaving = self._level(tenants, gained) if len(self._taken.keys() | tenants) > 1 else {}
        for tenant in tenants:
            self._take_turns(tenant, gained[tenant], leaving, now)
        self._made_way = len(leaving)
        for row in leaving:
            self.leave(row)
        for row in reversed([row for row in leaving if row.turn_ends > now]):
            self.come_back(row, now)
        for row in [row for row in leaving if row.turn_ends <= now]:
            self.come_back(row, now)
        return list(leaving)

    def _contenders(self, now: float) -> list[str]:
        """Return the tenants that have rows waiting and may have tokens, the one that was served longest ago first."""
        budgets = {tenant: self.line.first(tenant).terms.budget for tenant in self.line.tenants}
        return [tenant for tenant, budget in budgets.items() if not (budget and budget.seconds_left(now))]

    def _count_open(self, tenants: Sequence[str], now: float) -> int:
        """Return how many places are used: all, or as many as are worth it while tenants compete for them.

        The tenant with the most rows never gets fewer than the next one, and others never fewer for its sake. A tenant
        that comes now and then finds the batch as small as it left it, for as long as a turn.
        """
        wanted = Counter(self._taken)
        for tenant in tenants:
            wanted[tenant] += self.line.of(tenant)[0]
        total = wanted.total()
        if total <= self._number:
            return self._number
        if len(wanted) > 1:
            (_, most), (_, next_most) = wanted.most_common(2)
            self._shared_until = now + self._turn_s
            return min(self._number, max(self._worth, total - most + next_most))
        return self._open if now < self._shared_until else self._number

    def _share_with_next(self, tenant: str) -> float:
        """Return what a tenant would have, by its weight, with one row more."""
        return (self._taken[tenant] + 1) / self.line.first(tenant).terms.weight

    def _level(self, tenants: Sequence[str], gained: Counter[str]) -> dict[Row, None]:
        """Return rows of tenants with many places that make way for rows of tenants with few; count what those gain."""
        rows: dict[str, list[Row]] = {}
        for row in reversed(self._running):
            rows.setdefault(row.terms.tenant, []).append(row)
        for mine in rows.values():
            mine.sort(key=lambda row: row.terms.is_batch)  # the last one goes first: batch, and longest in its place
        wanting = {tenant: self.line.of(tenant)[0] for tenant in tenants}
        weights = {tenant: self.line.first(tenant).terms.weight for tenant in wanting}
        shares = {tenant: mine[0].terms.weight for tenant, mine in rows.items()}
        leaving: dict[Row, None] = {}
        free = self._open - len(self._running)

        def after(tenant: str) -> float:
            return (self._taken[tenant] + gained[tenant] + 1) / weights[tenant]

        def before(tenant: str) -> float:
            return (len(rows[tenant]) - 1) / shares[tenant]

        while free < 0:
            leaving[rows[max(rows, key=before)].pop()] = None
            free += 1
        while wanting:
            gainer = min(wanting, key=after)
            loser = max(rows, key=before)
            if before(loser) < after(gainer):
                break
            leaving[rows[loser].pop()] = None
            gained[gainer] += 1
            wanting[gainer] -= 1
            if not wanting[gainer]:
                del wanting[gainer]
        return leaving

    def _take_turns(self, tenant: str, gained: int, leaving: dict[Row, None], now: float) -> None:
        """Add rows to those leaving that make way for rows of a tenant: its own, or of others while it has no place."""
        is_outside = not (self._taken[tenant] or gained)
        candidates = [
            (-self._standing(row, now), i, row)
            for i, row in enumerate(self._running)
            if row.turn_ends <= now or (row.terms.is_batch and not is_outside)
            if (is_outside or row.terms.tenant == tenant) and row not in leaving
        ]
        if not candidates:
            return
        heapify(candidates)
        for i, waiting in enumerate(self.line.in_order(tenant)):
            if i < gained:
                continue
            if not candidates or waiting.waits_since >= -candidates[0][0]:
                return
            leaving[heappop(candidates)[2]] = None
            if is_outside:
                return

    def _standing(self, row: Row, now: float) -> float:
        """Return since when a row that runs counts as waiting, were it to wait from now on."""
        if row.turn_ends > now:
            return row.waits_since
        return now + self._ageing_s if row.terms.is_batch else now

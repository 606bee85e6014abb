"""The rows that wait for a place, by tenant and priority.

A row waits since its arrival, since it came back, or since its last turn ended; one of batch priority counts as if it
had come later by the ageing time. Whoever waits longest by that count is a tenant's next. Runs on the engine's thread;
its numbers may be read from any.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from heapq import merge

from unrolled_service.rows.row import Row

_Queue = OrderedDict[Row, int]  # each with the steps that it waits to take


class Line:
    """The rows that wait.

    Attributes:
        steps: that they have before them, all together.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._steps: Counter[str] = Counter()  # by tenant
        self._size = 0
        self._tenants: dict[str, tuple[_Queue, _Queue]] = {}  # interactive, batch; the one served last is the last

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Row]:
        return (row for queues in self._tenants.values() for queue in queues for row in queue)

    @property
    def tenants(self) -> list[str]:
        """Those that have rows here, the one that was served longest ago first."""
        return list(self._tenants)

    def has(self, tenant: str) -> bool:
        """Return whether rows of a tenant wait."""
        return tenant in self._tenants

    def of(self, tenant: str) -> tuple[int, int]:
        """Return how many rows of a tenant wait, and their steps. Any thread may call it."""
        queues = self._tenants.get(tenant, ((), ()))
        return len(queues[0]) + len(queues[1]), self._steps[tenant]

    def add(self, row: Row, *, at_front: bool = False) -> None:
        """Let a row wait, behind those of its kind or before them."""
        queues = self._tenants.get(row.terms.tenant)
        if queues is None:
            queues = self._tenants[row.terms.tenant] = OrderedDict(), OrderedDict()
        queue = queues[row.terms.is_batch]
        queue[row] = row.steps_left
        if at_front:
            queue.move_to_end(row, last=False)
        self._count(row.terms.tenant, 1, queue[row])

    def remove(self, row: Row) -> bool:
        """Let a row wait no more; return whether it did."""
        queues = self._tenants.get(row.terms.tenant)
        if queues is None or row not in (queue := queues[row.terms.is_batch]):
            return False
        self._count(row.terms.tenant, -1, -queue.pop(row))
        if not (queues[0] or queues[1]):
            del self._tenants[row.terms.tenant]
            del self._steps[row.terms.tenant]
        return True

    def in_order(self, tenant: str) -> Iterator[Row]:
        """Yield the rows of a tenant, the next one first."""
        return merge(*self._tenants.get(tenant, ()), key=lambda row: row.waits_since)

    def first(self, tenant: str) -> Row:
        """Return the next row of a tenant, which has one."""
        interactive, batch = self._tenants[tenant]
        if not batch:
            return next(iter(interactive))
        if not interactive:
            return next(iter(batch))
        return min(next(iter(interactive)), next(iter(batch)), key=lambda row: row.waits_since)

    def take(self, row: Row) -> None:
        """Remove a tenant's next row, and let other tenants go before it."""
        self.remove(row)
        tenant = row.terms.tenant
        if tenant in self._tenants:
            self._tenants[tenant] = self._tenants.pop(tenant)

    def _count(self, tenant: str, rows: int, steps: int) -> None:
        self._size += rows
        self.steps += steps
        self._steps[tenant] += steps

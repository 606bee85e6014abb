"""Who has the places of a bundle: whoever comes first, but no tenant keeps another one out.

Where all are taken, a tenant with less than its part of them still gets one, so that there may be more for a while, at
most twice as many. Belongs to one thread.
"""

from collections import Counter

MOST = 2  # times the limit


class Occupancy:
    """The calls that have a place.

    Attributes:
        total: how many there are.
    """

    def __init__(self) -> None:
        self.total = 0
        self._of: Counter[str] = Counter()

    def add(self, tenant: str) -> None:
        """Count a call of a tenant."""
        self.total += 1
        self._of[tenant] += 1

    def remove(self, tenant: str) -> None:
        """Count it no more."""
        self.total -= 1
        self._of[tenant] -= 1
        if not self._of[tenant]:
            del self._of[tenant]

    def has_room(self, tenant: str, limit: int) -> bool:
        """Return whether one more call of a tenant may have a place."""
        if self.total < limit:
            return True
        tenants = len(self._of) + (tenant not in self._of)
        return self.total < MOST * limit and (self._of[tenant] + 1) * tenants <= limit

"""Where Envoy puts a session: its MAGLEV table, computed to the entry.

Eisenbud et al. 2016, "Maglev: A Fast and Reliable Software Network Load Balancer", section 3.4, with the hashes of
Envoy's implementation: XXH64 of the replica's address, and of the header.
"""

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

SIZE = 65_537
"""Entries of Envoy's table, a prime; its default."""


class Maglev:
    """The table of some replicas.

    Args:
        replicas: addresses, ``host:port``, as Envoy knows them; all of the same weight.
        size: entries, a prime above the number of replicas.
    """

    def __init__(self, replicas: Sequence[str], size: int = SIZE) -> None:
        if not 0 < len(replicas) <= size:
            raise ValueError(f"a table of {size} entries does not do for {len(replicas)} replicas")
        self.replicas = tuple(replicas)
        self._entries = _fill([address.encode() for address in replicas], size)

    def place(self, session_id: str) -> str:
        """Return the replica of a session."""
        entry = xxhash.xxh64_intdigest(session_id.encode()) % len(self._entries)
        return self.replicas[int(self._entries[entry])]


def _fill(addresses: Sequence[bytes], size: int) -> NDArray[np.int64]:
    """Let replicas take turns: each takes the first free entry of its own permutation of the table."""
    at = [xxhash.xxh64_intdigest(address) % size for address in addresses]
    skip = [xxhash.xxh64_intdigest(address, seed=1) % (size - 1) + 1 for address in addresses]
    entries = [-1] * size
    left = size
    while left:
        for i in range(min(len(addresses), left)):
            entry = at[i]
            while entries[entry] >= 0:
                entry = (entry + skip[i]) % size
            entries[entry] = i
            at[i] = (entry + skip[i]) % size
            left -= 1
    return np.array(entries)

"""State memory: one preallocated array, a row of it a session, handed out in slots.

The arena knows rows, not who owns them or what they mean. It runs on the engine's thread.
"""

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.state import Floats

Rows = NDArray[np.intp]


class Arena:
    """Slots of state memory; in use + free = capacity, always.

    Memory is reserved at once and touched only as slots are used. A slot is wiped when it is released, so
    no state outlives its owner.

    Args:
        size: S, elements of one state.
        capacity: number of slots.

    Attributes:
        capacity: number of slots.
        slot_bytes: bytes of one state.
    """

    def __init__(self, size: int, capacity: int) -> None:
        self._states = np.zeros((capacity, size), np.float32)
        self._free = list(range(capacity - 1, -1, -1))
        self.capacity = capacity
        self.slot_bytes = size * self._states.itemsize

    @property
    def slots_in_use(self) -> int:
        """Number of slots acquired and not released."""
        return self.capacity - len(self._free)

    def can_acquire(self) -> bool:
        """Return whether a slot is free."""
        return bool(self._free)

    def acquire(self) -> int:
        """Take a slot; write it before it is read. ``IndexError`` when none is free: ask ``can_acquire`` first."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Give back an acquired slot and wipe it."""
        self._states[slot] = 0.0
        self._free.append(slot)

    def read(self, slot: int) -> Floats:
        """Return a copy of a row, f32[S]."""
        state: Floats = self._states[slot].copy()
        return state

    def write(self, slots: int | Rows, states: Floats) -> None:
        """Overwrite one row with f32[S], or several with f32[len(slots), S]."""
        self._states[slots] = states

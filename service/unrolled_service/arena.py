"""State memory: one preallocated array per state tensor, handed out in slots.

The arena knows rows, not who owns them or what they mean. It runs on the engine's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
States = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One state tensor of a cell.

    Attributes:
        input: name of the graph input.
        output: name of the graph output that feeds it at the next step.
        shape: extents after the batch axis.
        initial: value of every element at position 0.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    initial: float = 0.0


class Arena:
    """Slots of state memory; in use + free = capacity, always.

    Memory is reserved at once and touched only as slots are used. A slot is reset when it is
    acquired and wiped when it is released, so no state outlives its owner.

    Args:
        specs: the tensors of one state.
        capacity: number of slots.
    """

    def __init__(self, specs: Sequence[StateSpec], capacity: int) -> None:
        self._specs = tuple(specs)
        self._states: States = [np.zeros((capacity, *spec.shape), np.float32) for spec in specs]
        self._free = list(range(capacity - 1, -1, -1))
        self.capacity = capacity

    @property
    def slots_in_use(self) -> int:
        """Number of slots acquired and not released."""
        return self.capacity - len(self._free)

    @property
    def slot_bytes(self) -> int:
        """Bytes of one state."""
        return sum(state[0].nbytes for state in self._states)

    def can_acquire(self) -> bool:
        """Return whether a slot is free."""
        return bool(self._free)

    def acquire(self) -> int:
        """Take a slot at the zero state. ``IndexError`` when none is free: ask ``can_acquire`` first."""
        slot = self._free.pop()
        for spec, state in zip(self._specs, self._states, strict=True):
            state[slot] = spec.initial
        return slot

    def release(self, slot: int) -> None:
        """Give back an acquired slot and wipe it."""
        for state in self._states:
            state[slot] = 0.0
        self._free.append(slot)

    def read(self, rows: Rows) -> States:
        """Return copies of rows, one ``[len(rows), *shape]`` array per state."""
        return [state[rows] for state in self._states]

    def write(self, rows: Rows, states: Sequence[NDArray[np.float32]]) -> None:
        """Overwrite rows with ``[len(rows), *shape]`` arrays."""
        for state, new in zip(self._states, states, strict=True):
            state[rows] = new

    def copy(self, source: int | Rows, target: int | Rows) -> None:
        """Copy slots onto others of the same number."""
        for state in self._states:
            state[target] = state[source]

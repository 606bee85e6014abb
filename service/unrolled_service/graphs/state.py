"""A cell's state: its tensors, and all of them as one row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


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

    @property
    def size(self) -> int:
        """Number of elements a row."""
        return prod(self.shape)


def initial_state(specs: Sequence[StateSpec]) -> Floats:
    """Return the state at position 0 as one row: f32[S], every tensor flattened, one behind the other.

    Without states S is 0.
    """
    none = np.empty(0, np.float32)
    return np.concatenate([none, *(np.full(spec.size, spec.initial, np.float32) for spec in specs)])

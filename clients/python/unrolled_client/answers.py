"""What recurrent models answer to sequences, and what callers may ask to see of a state: frozen values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Vector: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Activations:
    """Which units of a state to report.

    Attributes:
        state: name of the state, for instance "h1".
        units: places in it, flattened, at most 256; none: all of it, where it has no more than that.
    """

    state: str
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a model makes of an input: a label with the probabilities of all labels, or numbers.

    Attributes:
        label: the most probable label; empty where the model gives numbers.
        probabilities: one a label, in the order of the model's `output.names`; empty where it gives numbers.
        values: the numbers; empty where the model gives labels.
        activations: the units that were asked for, of the state after the input.
    """

    label: str = ""
    probabilities: Vector = ()
    values: Vector = ()
    activations: Vector = ()

    @property
    def probability(self) -> float:
        """Return the probability of the label; 0 where the model gives numbers."""
        return max(self.probabilities, default=0.0)

    def ranked(self, names: Sequence[str]) -> dict[str, float]:
        """Return the probabilities by label, the most probable first.

        Args:
            names: the labels in the model's order: `Client.model().output.names`.

        Raises:
            ValueError: these are not as many as there are probabilities.
        """
        pairs = zip(names, self.probabilities, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))


@dataclass(frozen=True)
class Classification:
    """The answer to a sequence as a whole.

    Attributes:
        output: the model's output after the last input.
        inputs: inputs read by this call.
        position: inputs in the session's history.
    """

    output: Output
    inputs: int
    position: int

    @property
    def label(self) -> str:
        """Return the most probable label; empty where the model gives numbers."""
        return self.output.label

    @property
    def probability(self) -> float:
        """Return the probability of that label; 0 where the model gives numbers."""
        return self.output.probability

    @property
    def probabilities(self) -> Vector:
        """Return the probability of each label, in the order of the model's `output.names`."""
        return self.output.probabilities

    @property
    def values(self) -> Vector:
        """Return the numbers; none where the model gives labels."""
        return self.output.values

    def ranked(self, names: Sequence[str]) -> dict[str, float]:
        """Do the same as `Output.ranked`."""
        return self.output.ranked(names)


Numbers: TypeAlias = Iterable[float]
"""A vector as callers give it: a list, a tuple, an array of one dimension."""

Condition: TypeAlias = str | Numbers
"""What a generation is about: one of the bundle's names, or as many numbers as it takes."""

Watched: TypeAlias = Activations | tuple[str, Iterable[int]] | str
"""What to report of a state: `Activations`, its name and units as a pair, or its name alone for all of it."""

Item: TypeAlias = str | Numbers | Iterable[Numbers]
"""Inputs that travel together: a text, one vector, or several."""

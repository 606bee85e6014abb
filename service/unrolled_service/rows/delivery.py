"""News for callers, and where it goes: what crosses from the engine's thread to the event loop."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Sink(Protocol):
    """Where a row's news goes.

    ``delivered`` is the position of the last text that has left for the caller. The sink moves it
    forward, from any thread; the engine only reads it.
    """

    delivered: int


class Described(NamedTuple):
    """What was asked for beside one token.

    Attributes:
        chosen: its log-probability; NaN where only activations were asked for.
        top: (token, log-probability) of the most probable ones.
        activations: of the units that were asked for, in the state that it comes from.
    """

    chosen: float
    top: Sequence[tuple[int, float]]
    activations: Sequence[float] = ()

    @property
    def numbers(self) -> int:
        """How many numbers it tells."""
        return 1 + len(self.top) + len(self.activations)


class Answer(NamedTuple):
    """One output that is no token.

    Attributes:
        values: O numbers: logits of labels, or a vector.
        activations: of the units that were asked for, in the state after its input.
    """

    values: Sequence[float]
    activations: Sequence[float] = ()

    @property
    def numbers(self) -> int:
        """How many numbers it tells."""
        return len(self.values) + len(self.activations)


Item = Described | Answer


class Delivery(NamedTuple):
    """News for one caller. A tuple, because a slice makes one for nearly every row.

    Attributes:
        sink: where it goes.
        text: to be appended to what came before.
        position: inputs in the history once this is taken.
        items: one entry a token of the text, or none; or outputs that are no tokens.
        finish: the result, if this is the last news.
        error: the failure, if this is the last news.
    """

    sink: Sink
    text: str
    position: int
    items: Sequence[Item] = ()
    finish: object = None
    error: Exception | None = None

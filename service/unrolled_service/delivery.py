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
    """Log-probabilities at one position: of its token, and (token, log-probability) of the most probable."""

    chosen: float
    top: Sequence[tuple[int, float]]


class Delivery(NamedTuple):
    """News for one caller. A tuple, because a slice makes one for nearly every row.

    Attributes:
        sink: where it goes.
        text: to be appended to what came before.
        position: tokens in the history once the text is taken.
        described: one entry a token of the text, or none.
        finish: the result, if this is the last news.
        error: the failure, if this is the last news.
    """

    sink: Sink
    text: str
    position: int
    described: Sequence[Described] = ()
    finish: object = None
    error: Exception | None = None

"""What a session was fed in its recent past, tokens or vectors, with the states to go back to.

A history begins at an anchor: a position whose state is kept. From there its inputs are kept too, so that any
later position can be reached again by feeding them; what lies before the anchor is only counted. Runs on the
engine's thread.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint32]
Items = list[int] | list[float]
"""Inputs one behind the other: tokens, V added to generated ones, or the numbers of vectors."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a history is made of.

    Attributes:
        vocabulary_size: V; a generated token t is kept as V + t. 0 for vectors.
        width: F, numbers of a vector; 0 for tokens.
        is_generative: going on from a state needs an input that it has not taken.
    """

    vocabulary_size: int
    width: int = 0
    is_generative: bool = True

    @property
    def typecode(self) -> str:
        """The kind of array that holds the items."""
        if self.width:
            return "f"
        return "H" if 2 * self.vocabulary_size <= 1 << 16 else "I"

    def make_items(self, items: Iterable[float] = ()) -> "array[Any]":
        """Return items in the smallest array that holds them."""
        return array(self.typecode, items)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that a session had.

    Attributes:
        position: inputs that it has taken.
        state: f32[S] as bytes; None for the zero state.
    """

    position: int
    state: bytes | None


ORIGIN = Checkpoint(0, None)


class History:
    """What a session was fed and gave, up to its position.

    Args:
        form: tokens or vectors.
        reach: how many inputs back it must be possible to go, at least.
        items: what it holds.
    """

    __slots__ = ("_anchor", "_counts", "_form", "_items", "_later", "_reach")

    def __init__(self, form: Format, reach: int, *, items: Iterable[float] = ()) -> None:
        self._form = form
        self._reach = reach
        self._anchor = ORIGIN
        self._later: Checkpoint | None = None
        self._counts: Counts | None = None
        self._items = form.make_items(items)

    @classmethod
    def begin_at(
        cls, checkpoint: Checkpoint, counts: Counts, items: Iterable[float], *, form: Format, reach: int
    ) -> "History":
        """Return a history whose anchor is a checkpoint, with what was counted before it and the items after."""
        history = cls(form, reach, items=items)
        history._anchor, history._counts = checkpoint, counts
        return history

    @property
    def form(self) -> Format:
        """What it is made of."""
        return self._form

    @property
    def end(self) -> int:
        """Inputs in the whole history: the position."""
        return self._anchor.position + len(self._items) // (self._form.width or 1)

    @property
    def start(self) -> int:
        """The earliest position that can be returned to: the anchor, or behind the input that is needed to go on."""
        position = self._anchor.position
        return position + 1 if position and self._form.is_generative else position

    @property
    def anchor(self) -> Checkpoint:
        """The state that the history begins with."""
        return self._anchor

    @property
    def kept_bytes(self) -> int:
        """Bytes of its inputs, counts and states."""
        states = sum(len(each.state) for each in (self._anchor, self._later) if each and each.state)
        counts = 0 if self._counts is None else self._counts.nbytes
        return len(self._items) * self._items.itemsize + counts + states

    def since(self, position: int) -> Items:
        """Return the inputs from a position on."""
        return self._items[self._place(position) :].tolist()

    def extend(self, items: Iterable[float]) -> None:
        """Append inputs, whole ones."""
        self._items.extend(items)

    def counts(self, position: int) -> Counts:
        """Return how often each token was fed, then how often each was generated, before a position: u32[2V]."""
        if self._form.width:
            return np.zeros(0, np.uint32)
        taken = np.frombuffer(self._items, self._form.typecode)[: self._place(position)]
        counted = np.bincount(taken, minlength=2 * self._form.vocabulary_size).astype(np.uint32)
        return counted if self._counts is None else counted + self._counts

    def begin(self, state: bytes) -> None:
        """Take the state at position 0, where that is not the zero state; only while nothing was fed."""
        self._anchor = Checkpoint(0, state)

    def wants_checkpoint(self, position: int, *, reach: int = 0) -> bool:
        """Return whether the state at a position should be kept, to reach back at least so far."""
        return position - (self._later or self._anchor).position >= max(self._reach, reach)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a state; the anchor moves on where there is enough to go back to without it."""
        if self._later is not None:
            self._counts = self.counts(self._later.position)
            del self._items[: self._place(self._later.position)]
            self._anchor = self._later
        self._later = checkpoint

    def rewind(self, position: int) -> Checkpoint:
        """Forget what came after a position, from ``start`` to ``end``; return the newest state before it.

        Where that position is the anchor's, it is the anchor.
        """
        del self._items[self._place(position) :]
        if self._later is not None and self._later.position >= position:
            self._later = None
        return self._later or self._anchor

    def fork(self) -> "History":
        """Return an equal history; the states are shared."""
        copy = History(self._form, self._reach, items=self._items)
        copy._anchor, copy._later, copy._counts = self._anchor, self._later, self._counts
        return copy

    def _place(self, position: int) -> int:
        """Return where the inputs from a position on begin."""
        return (position - self._anchor.position) * (self._form.width or 1)

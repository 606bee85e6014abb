"""The tokens of a session's recent past, with the states to go back to.

A history begins at an anchor: a position whose state is kept. From there its tokens are kept too, so that any
later position can be reached again by feeding them; what lies before the anchor is only counted. Runs on the
engine's thread.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that a session had.

    Attributes:
        position: tokens that it has taken.
        state: f32[S] as bytes; None for the zero state.
    """

    position: int
    state: bytes | None


ORIGIN = Checkpoint(0, None)


class History:
    """What a session was fed and gave, up to its position.

    Args:
        vocabulary_size: V; a generated token t is kept as V + t.
        reach: how many tokens back it must be possible to go, at least.
    """

    __slots__ = ("_anchor", "_counts", "_later", "_reach", "_tokens", "_vocabulary_size")

    def __init__(self, vocabulary_size: int, reach: int, *, tokens: Iterable[int] = ()) -> None:
        self._vocabulary_size = vocabulary_size
        self._reach = reach
        self._anchor = ORIGIN
        self._later: Checkpoint | None = None
        self._counts: Counts | None = None
        self._tokens = array("H" if 2 * vocabulary_size <= 1 << 16 else "I", tokens)

    @classmethod
    def begin_at(
        cls, checkpoint: Checkpoint, counts: Counts, tokens: Iterable[int], *, vocabulary_size: int, reach: int
    ) -> "History":
        """Return a history whose anchor is a checkpoint, with what was counted before it and the tokens after."""
        history = cls(vocabulary_size, reach, tokens=tokens)
        history._anchor, history._counts = checkpoint, counts
        return history

    @property
    def end(self) -> int:
        """Tokens in the whole history: the position."""
        return self._anchor.position + len(self._tokens)

    @property
    def start(self) -> int:
        """The earliest position that can be returned to: a token behind the anchor is needed to go on from it."""
        return self._anchor.position + 1 if self._anchor.position else 0

    @property
    def anchor(self) -> Checkpoint:
        """The state that the history begins with."""
        return self._anchor

    @property
    def state_bytes(self) -> int:
        """Bytes of the states that it keeps."""
        kept = (self._anchor, self._later)
        return sum(len(each.state) for each in kept if each is not None and each.state is not None)

    def since(self, position: int) -> list[int]:
        """Return the tokens from a position on, V added to generated ones."""
        return self._tokens[position - self._anchor.position :].tolist()

    def extend(self, tokens: Iterable[int]) -> None:
        """Append tokens, V added to generated ones."""
        self._tokens.extend(tokens)

    def counts(self, position: int) -> Counts:
        """Return how often each token was fed, then how often each was generated, before a position: u32[2V]."""
        taken = np.frombuffer(self._tokens, self._tokens.typecode)[: position - self._anchor.position]
        counted = np.bincount(taken, minlength=2 * self._vocabulary_size).astype(np.uint32)
        return counted if self._counts is None else counted + self._counts

    def wants_checkpoint(self, position: int) -> bool:
        """Return whether the session's state at a position should be kept."""
        return position - (self._later or self._anchor).position >= self._reach

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a state; the anchor moves on where there is enough to go back to without it."""
        if self._later is not None:
            self._counts = self.counts(self._later.position)
            del self._tokens[: self._later.position - self._anchor.position]
            self._anchor = self._later
        self._later = checkpoint

    def rewind(self, position: int) -> Checkpoint:
        """Forget what came after a position, from ``start`` to ``end``; return the newest state before it."""
        del self._tokens[position - self._anchor.position :]
        if self._later is not None and self._later.position >= position:
            self._later = None
        return self._later or self._anchor

    def fork(self) -> "History":
        """Return an equal history; the states are shared."""
        copy = History(self._vocabulary_size, self._reach, tokens=self._tokens)
        copy._anchor, copy._later, copy._counts = self._anchor, self._later, self._counts
        return copy

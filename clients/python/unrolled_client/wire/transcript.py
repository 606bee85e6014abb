"""What is known of one generation: what came so far and how it ended."""

from unrolled_client.answers import Vector
from unrolled_client.errors import UnrolledError
from unrolled_client.values import Chunk, Finish
from unrolled_client.wire.whereabouts import Whereabouts


class Transcript:
    """The received part of a stream. The first ending counts; whatever comes after it changes nothing.

    Attributes:
        finish: how the generation ended well; None before.
        error: how it ended badly; None otherwise.
        position: position after what came so far, in tokens or vectors; None before the first piece.
    """

    def __init__(self, whereabouts: Whereabouts | None = None) -> None:
        """Begin empty.

        Args:
            whereabouts: told every position that the server reports; None without a session.
        """
        self.finish: Finish | None = None
        self.error: UnrolledError | None = None
        self.position: int | None = None
        self._whereabouts = whereabouts or Whereabouts()
        self._pieces: list[str] = []
        self._vectors: list[Vector] = []
        self._activations: list[Vector] = []

    @property
    def text(self) -> str:
        """Return the text received so far."""
        return "".join(self._pieces)

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Return the vectors received so far."""
        return tuple(self._vectors)

    @property
    def activations(self) -> tuple[Vector, ...]:
        """Return the activations received so far."""
        return tuple(self._activations)

    @property
    def is_over(self) -> bool:
        """Tell whether the stream has ended, well or badly."""
        return self.finish is not None or self.error is not None

    def add(self, chunk: Chunk) -> None:
        """Note a piece."""
        self._pieces.append(chunk.text)
        self._vectors.extend(chunk.vectors)
        self._activations.extend(chunk.activations)
        self.position = chunk.position
        self._whereabouts.report(chunk.position)

    def complete(self, finish: Finish) -> None:
        """Note that the call ended well."""
        self.finish = finish
        self.position = finish.position
        self._whereabouts.settle(finish.position)

    def fail(self, error: UnrolledError) -> None:
        """Note that the call ended with an error."""
        if not self.is_over:
            self.error = error

    def check(self) -> None:
        """Raise the error that the stream ended with, if it did."""
        if self.error is not None:
            raise self.error

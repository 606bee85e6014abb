"""What is written once more after a break, and must come out the same."""

from dataclasses import dataclass, replace

from unrolled_client.answers import Vector
from unrolled_client.values import Chunk


@dataclass(frozen=True)
class Echo:
    """Tokens or vectors that the caller has already.

    Attributes:
        text: the tokens; empty where vectors are written.
        vectors: the vectors; none where tokens are written.
    """

    text: str = ""
    vectors: tuple[Vector, ...] = ()

    @property
    def count(self) -> int:
        """Return how many tokens or vectors there are."""
        return len(self.text) + len(self.vectors)

    def explains(self, chunk: Chunk) -> bool:
        """Tell whether a chunk repeats what was there, as far as both reach."""
        common = min(self.count, chunk.count)
        is_alike = self.text[:common] == chunk.text[: len(self.text)]
        return is_alike and self.vectors[:common] == chunk.vectors[: len(self.vectors)]

    def less(self, chunk: Chunk) -> "Echo":
        """Return what is still to be repeated after a chunk."""
        return Echo(self.text[chunk.count :], self.vectors[chunk.count :])

    def rest_of(self, chunk: Chunk) -> Chunk | None:
        """Return what a chunk has beyond this; None: nothing."""
        if chunk.count <= self.count:
            return None
        return replace(
            chunk,
            text=chunk.text[self.count :],
            logprobs=chunk.logprobs[self.count :],
            vectors=chunk.vectors[self.count :],
            activations=chunk.activations[self.count :],
        )

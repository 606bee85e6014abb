"""The ordered unique characters of a corpus and their places.

Owns encoding and decoding; knows nothing of files or tensors of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Vocabulary:
    """Hold the characters of a corpus in the order of a model's outputs."""

    characters: str

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Collect the distinct characters of `text`, sorted by code point."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {character: place for place, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """Turn each character into its place, 0 to V - 1.

        Raises:
            KeyError: a character is not in the vocabulary.
        """
        return [self._places[character] for character in text]

    def decode(self, tokens: Iterable[int] | Sequence[int]) -> str:
        """Turn places into text."""
        return "".join(self.characters[token] for token in tokens)

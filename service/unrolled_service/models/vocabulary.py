"""Text to tokens and back, for vocabularies of single characters."""

import codecs
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled_service.errors import UnknownCharacter


class Vocabulary:
    """The ordered unique characters of a bundle; a character's place is its token.

    Args:
        tokens: V characters, no two alike.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tuple(tokens)
        self._ids = {character: i for i, character in enumerate(tokens)}
        self._codepoints = np.array([ord(character) for character in tokens], dtype="<u4")

    def __len__(self) -> int:
        return len(self._codepoints)

    def token(self, number: int) -> str:
        """Return one token."""
        return self._tokens[number]

    def encode(self, text: str, *, field: str) -> NDArray[np.int64]:
        """Return the tokens of a text, int64 ``[len(text)]``.

        Raises:
            UnknownCharacter: naming the first character without a token, its position and ``field``.
        """
        try:
            return np.fromiter(map(self._ids.__getitem__, text), dtype=np.int64, count=len(text))
        except KeyError:
            position = next(i for i, character in enumerate(text) if character not in self._ids)
            description = (
                f"the vocabulary has no {text[position]!r} (U+{ord(text[position]):04X}), "
                f"the character at position {position}"
            )
            raise UnknownCharacter(field, description) from None

    def decode(self, tokens: NDArray[np.int64]) -> str:
        """Return the text of tokens of any shape in C order; each must be in ``[0, V)``."""
        return codecs.utf_32_le_decode(self._codepoints.take(tokens).data)[0]

"""A text as tokens: read, checked, and divided into a training and a validation part.

Owns the refusals that concern the text. Knows nothing of models; a file is known by its name alone, so that
nothing written later tells where it lay.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unrolled_export.errors import CorpusError
from unrolled_export.vocabulary import Vocabulary


@dataclass(frozen=True)
class Corpus:
    """Hold one text, encoded.

    Attributes:
        name: what the text is called: a file's name without its folder.
        sha256: lower-case hex digest of the text in UTF-8.
        vocabulary: the characters of the whole text.
        training: int64 `[N]`, the first part.
        validation: int64 `[M]`, the last part; empty when nothing is held out.
    """

    name: str
    sha256: str
    vocabulary: Vocabulary
    training: Tensor
    validation: Tensor

    @classmethod
    def of(cls, text: str, name: str, validation: float) -> Corpus:
        """Encode `text` and hold its last `validation` share (0 to below 1) out.

        Raises:
            CorpusError: the text is empty or has a single symbol.
        """
        if not text:
            raise CorpusError(f"{name} is empty: there is nothing to learn")
        vocabulary = Vocabulary.of(text)
        if len(vocabulary) < 2:
            raise CorpusError(
                f"{name} has {len(text):,} characters but only one symbol, {text[0]!r}: "
                "a model of it has nothing to predict; at least two are needed"
            )
        tokens = torch.tensor(vocabulary.encode(text), dtype=torch.int64)
        held_out = int(len(tokens) * validation)
        if validation and held_out < 2:
            raise CorpusError(
                f"{name}: the validation part of {validation:g} is {held_out} of {len(tokens):,} characters; "
                "at least 2 are needed (use a longer text or --validation 0)"
            )
        border = len(tokens) - held_out
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(name, digest, vocabulary, tokens[:border], tokens[border:])


def read_text(path: Path) -> str:
    """Read a UTF-8 file as it stands: line ends are kept.

    Raises:
        CorpusError: the file cannot be read or is not UTF-8; the message names the first bad byte's offset.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path.name} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start:,} ({error.reason})"
        ) from error

"""What a verb is given to read: an argument, a file of vectors, or standard input."""

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from unrolled_client.cli.failure import Failure
from unrolled_client.cli.numbers import read_vectors, to_vector


def read_text() -> str:
    """Read a text from standard input, less one newline at its end.

    Raises:
        Failure: it is not text.
    """
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Failure(f"what stands on standard input is not text: {error}") from error


def read_all(text: str | None, vectors: TextIO | None) -> str | list[list[float]]:
    """Return the whole sequence: vectors if a file of them is given, else the text, else that on standard input.

    Raises:
        Failure: both are given, or what is read is neither.
    """
    _check_one(text, vectors)
    if vectors is not None:
        return [*read_vectors(vectors)]
    return read_text() if text is None or text == "-" else text


def read_lines(text: str | None, vectors: TextIO | None) -> Iterator[str | list[list[float]]]:
    """Yield parts of a sequence as they come: the text, or each line of standard input; or each vector of a file.

    Raises:
        Failure: both are given, or a line is not what it should be.
    """
    _check_one(text, vectors)
    if text is not None and text != "-":
        yield text
        return
    lines: Iterable[str] = sys.stdin if vectors is None else vectors
    if vectors is not None and not _is_standard_input(vectors):
        yield [*read_vectors(lines)]
        return
    for number, line in enumerate(lines, start=1):
        part = line.removesuffix("\n")
        if part:
            yield part if vectors is None else [to_vector(part, f"line {number}")]


def _check_one(text: str | None, vectors: TextIO | None) -> None:
    if text is not None and vectors is not None:
        raise Failure("give a text or --vectors, not both")


def _is_standard_input(file: TextIO) -> bool:
    return file.name == "<stdin>"

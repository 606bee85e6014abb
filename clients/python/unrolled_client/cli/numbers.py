"""Vectors as lines of JSON."""

import json
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from unrolled_client.cli.failure import Failure

DIGITS = 7  # what a float32 holds


def read_vectors(lines: Iterable[str]) -> Iterator[list[float]]:
    """Read a vector a line; blank lines are passed over.

    Raises:
        Failure: a line is not a list of finite numbers.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield to_vector(line, f"line {number}")


def to_vector(text: str, where: str) -> list[float]:
    """Read one vector, for instance `[0.1, 0.2]`.

    Raises:
        Failure: it is not a list of finite numbers.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, list) or not all(map(_is_number, values)):
        raise Failure(f"{where}: not a list of finite numbers such as [0.1, 0.2]: {text.strip():.60}")
    return [float(value) for value in values]


def to_line(vector: Iterable[float]) -> str:
    """Write a vector with as many digits as it has."""
    return json.dumps(rounded(vector))


def rounded(vector: Iterable[float]) -> list[float]:
    """Return numbers with as many digits as a float32 holds."""
    return [float(f"{value:.{DIGITS}g}") for value in vector]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)

"""Turns what callers give as numbers into messages. Arrays are welcome and no array library is known here."""

from collections.abc import Iterable
from typing import Any

from unrolled.v1 import bundle_pb2, generation_pb2
from unrolled_client.answers import Activations, Condition, Numbers, Watched


def vector(numbers: Numbers) -> bundle_pb2.Vector:
    """Write a vector.

    Raises:
        TypeError: it is not a sequence of numbers.
    """
    listed = _listed(numbers)
    try:
        return bundle_pb2.Vector(values=listed)
    except TypeError:
        raise TypeError(f"a vector is a sequence of numbers, not {_shown(numbers)}") from None


def vectors(rows: Iterable[Numbers] | None) -> list[bundle_pb2.Vector]:
    """Write several vectors; None is none.

    Raises:
        TypeError: one is not a sequence of numbers.
    """
    return [vector(row) for row in _listed(() if rows is None else rows)]


def conditioning(condition: Condition | None) -> generation_pb2.Conditioning | None:
    """Write what a generation is about: a name or a vector; None stays None.

    Raises:
        TypeError: it is neither.
    """
    match condition:
        case None:
            return None
        case str():
            return generation_pb2.Conditioning(label=condition)
        case _:
            return generation_pb2.Conditioning(vector=vector(condition))


def activations(watched: Watched | None) -> generation_pb2.Activations | None:
    """Write which units of a state to report; None stays None.

    Raises:
        TypeError: it is not a name, a pair of a name and units, or an `Activations`.
        ValueError: a unit does not fit its wire type.
    """
    match watched:
        case None:
            return None
        case str(state):
            return generation_pb2.Activations(state=state)
        case Activations(state, units) | (str(state), units):
            return generation_pb2.Activations(state=state, units=_listed(units))
        case _:
            raise TypeError(f"activations are a state's name and units, not {_shown(watched)}")


def is_number(value: Any) -> bool:
    """Tell whether a value is one number; an array of no dimension is."""
    return not hasattr(value, "__iter__") or getattr(value, "ndim", 1) == 0


def _listed(values: Any) -> Any:
    """Return an array as lists, which take a tenth of the time to write; anything else as it is."""
    return values.tolist() if hasattr(values, "tolist") else values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"

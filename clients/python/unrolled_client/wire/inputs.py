"""Cuts what callers give to read into messages that the server takes. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from unrolled.v1 import sequence_pb2
from unrolled_client.answers import Item
from unrolled_client.wire import vectors
from unrolled_client.wire.vectors import is_number

MAX_INPUTS = 4_096
# A message of the server's limit, 1 MiB, less an opening.
MAX_BYTES = 1_000_000


def is_at_once(given: Any) -> bool:
    """Tell whether all inputs are there already, so that they can be sent a second time."""
    return isinstance(given, Sequence) or hasattr(given, "tolist")


def cut(item: Item) -> Iterator[sequence_pb2.Inputs]:
    """Write inputs that travel together as one message, or as few as their limit allows.

    An item without inputs is one message without inputs, for the server to refuse.

    Raises:
        TypeError: it is neither a text, nor a vector, nor vectors.
    """
    if isinstance(item, str):
        for begin in range(0, max(len(item), 1), MAX_INPUTS):
            yield sequence_pb2.Inputs(text=item[begin : begin + MAX_INPUTS])
        return
    if is_number(item):
        raise TypeError(f"an input is a text, a vector or vectors, not {item!r}")
    yield from _cut_vectors(_rows(item))


def cut_all(given: str | Iterable[Item]) -> Iterator[sequence_pb2.Inputs]:
    """Write inputs that are all there: a text or vectors as few messages, several texts as a message each.

    Raises:
        TypeError: they are no inputs.
    """
    if isinstance(given, str) or not any(map(_is_batch, given)):
        yield from cut(given)  # type: ignore[arg-type]  # vectors alone
        return
    for item in given:
        yield from cut(item)


def _rows(item: Any) -> Iterable[Any]:
    """Return the vectors of an item; a vector alone is one."""
    values = iter(item)
    first = next(values, None)
    if first is None:
        return ()
    rest = chain((first,), values)
    return ([*rest],) if is_number(first) else rest


def _is_batch(item: Any) -> bool:
    """Tell whether an item of a sequence is a message by itself, and not a vector among others."""
    if isinstance(item, str) or is_number(item):
        return True
    return bool(len(item)) and not is_number(item[0])


def _cut_vectors(rows: Iterable[Any]) -> Iterator[sequence_pb2.Inputs]:
    message, size_bytes = sequence_pb2.Inputs(), 0
    for row in rows:
        vector = vectors.vector(row)
        row_bytes = vector.ByteSize() + 8
        if message.vectors and (len(message.vectors) == MAX_INPUTS or size_bytes + row_bytes > MAX_BYTES):
            yield message
            message, size_bytes = sequence_pb2.Inputs(), 0
        message.vectors.append(vector)
        size_bytes += row_bytes
    yield message

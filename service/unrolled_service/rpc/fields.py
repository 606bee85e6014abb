"""Fields that several requests share, checked: names, conditions, inputs, parts of a state.

A refusal names the field as it is written in the proto, with its limit.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.bundle_pb2 import MODALITY_VECTOR, Port, Vector
from unrolled.v1.sequence_pb2 import Inputs
from unrolled_service.errors import InvalidField
from unrolled_service.graphs.state import Floats, StateSpec
from unrolled_service.models.bundle import Bundle
from unrolled_service.models.vocabulary import Vocabulary

MAX_MODEL_LENGTH = 128
MAX_SESSION_ID_LENGTH = 64
MAX_NAME_LENGTH = 64
MAX_INPUTS = 4096
MAX_CHUNK_TOKENS = 65_536
MAX_UNITS = 256
_NANOS = 1_000_000_000
_PRIORITIES = frozenset(wire.Priority.values())


def read_model(name: str, *, field: str = "model") -> str:
    """Return the name of a bundle, or an empty one."""
    if len(name) > MAX_MODEL_LENGTH:
        raise InvalidField(field, f"must have at most {MAX_MODEL_LENGTH} characters, has {len(name)}")
    return name


def read_session_id(session_id: str, *, field: str = "session_id") -> str:
    """Return a session id that may exist."""
    if not 1 <= len(session_id) <= MAX_SESSION_ID_LENGTH:
        raise InvalidField(field, f"must have 1 to {MAX_SESSION_ID_LENGTH} characters, has {len(session_id)}")
    return session_id


def read_duration(duration: Duration, lowest_s: float, highest_s: float, *, field: str) -> float:
    """Return a time in seconds, whose whole seconds and nanoseconds are both within their bounds."""
    if not 0 <= duration.nanos < _NANOS:
        raise InvalidField(f"{field}.nanos", f"must be from 0 to {_NANOS - 1}, is {duration.nanos}")
    seconds = duration.seconds + duration.nanos / _NANOS
    if not lowest_s <= seconds <= highest_s:
        raise InvalidField(field, f"must be from {lowest_s:g} s to {highest_s:g} s, is {seconds:g} s")
    return seconds


def read_priority(priority: int, *, field: str = "priority") -> bool:
    """Return whether a call lets others go first."""
    if priority not in _PRIORITIES:
        known = ", ".join(wire.Priority.keys())
        raise InvalidField(field, f"must be one of {known}; is {priority}")
    return priority == wire.PRIORITY_BATCH


def read_chunk_limit(max_chunk_tokens: int) -> int:
    """Return how many tokens a message carries at most, or 0."""
    if max_chunk_tokens > MAX_CHUNK_TOKENS:
        raise InvalidField("max_chunk_tokens", f"must be at most {MAX_CHUNK_TOKENS}, is {max_chunk_tokens}")
    return max_chunk_tokens


def read_optional(request: Any, name: str) -> int | None:
    """Return the number in an optional field, or None where it is unset."""
    return int(getattr(request, name)) if request.HasField(name) else None


def read_condition(request: Any, bundle: Bundle) -> Floats | None:
    """Return what sets the state at position 0, f32[C]; None where nothing is given.

    Raises:
        InvalidField: it is not of the kind that the bundle's condition has.
    """
    if not request.HasField("condition"):
        return None
    if bundle.condition is None:
        raise InvalidField("condition", f"must be unset: {bundle.name!r} has no condition")
    given, port = request.condition, bundle.manifest.condition.port
    wanted = "vector" if port.modality == MODALITY_VECTOR else "label"
    if given.WhichOneof("kind") != wanted:
        raise InvalidField("condition", f"must have a {wanted}")
    if wanted == "vector":
        vector: Floats = read_vectors([given.vector], port.width, field="condition.vector")[0]
        return vector
    if given.label not in port.names:
        known = ", ".join(port.names[:MAX_UNITS])
        raise InvalidField("condition.label", f"must be one of {known}; is {given.label[:MAX_NAME_LENGTH]!r}")
    numbers = np.zeros(port.width, np.float32)
    numbers[list(port.names).index(given.label)] = 1.0
    return numbers


def read_inputs(inputs: Inputs, port: Port, vocabulary: Vocabulary, limit: int, *, field: str) -> NDArray[Any]:
    """Return inputs of the kind that a graph takes: int64[N] or f32[N, F].

    Args:
        inputs: the message.
        port: what the graph takes.
        vocabulary: its tokens, where it takes those.
        limit: how many inputs there may be.
        field: path of the message in the request.

    Raises:
        InvalidField, UnknownCharacter: they are of the other kind, too many, ragged, or not finite.
    """
    takes_vectors = port.modality == MODALITY_VECTOR
    if inputs.text if takes_vectors else inputs.vectors:
        wrong, right = ("text", "vectors") if takes_vectors else ("vectors", "text")
        raise InvalidField(f"{field}.{wrong}", f"must be empty: the bundle takes {right}")
    count = len(inputs.vectors) if takes_vectors else len(inputs.text)
    if count > limit:
        part = "vectors" if takes_vectors else "text"
        raise InvalidField(f"{field}.{part}", f"must have at most {limit} inputs, has {count}")
    if takes_vectors:
        return read_vectors(inputs.vectors, port.width, field=f"{field}.vectors")
    return vocabulary.encode(inputs.text, field=f"{field}.text")


def read_vectors(vectors: Sequence[Vector], width: int, *, field: str) -> Floats:
    """Return vectors f32[N, width].

    Raises:
        InvalidField: one is not as wide, or has a number that is not finite.
    """
    for i, vector in enumerate(vectors):
        if len(vector.values) != width:
            place = field if field.endswith(".vector") else f"{field}[{i}]"
            raise InvalidField(f"{place}.values", f"must be {width} numbers, are {len(vector.values)}")
    rows = np.array([vector.values for vector in vectors], np.float32).reshape(len(vectors), width)
    if not np.isfinite(rows).all():
        i, j = np.argwhere(~np.isfinite(rows))[0].tolist()
        place = field if field.endswith(".vector") else f"{field}[{i}]"
        raise InvalidField(f"{place}.values[{j}]", f"must be finite, is {rows[i, j]:g}")
    return rows


def read_activations(request: Any, states: Sequence[StateSpec], *, field: str = "activations") -> NDArray[np.int64]:
    """Return the places to report, int64[N], in the flattened state; none where nothing is asked for.

    Raises:
        InvalidField: there is no such state or unit, or too many.
    """
    if not request.HasField("activations"):
        return np.empty(0, np.int64)
    asked: wire.Activations = request.activations
    begins = 0
    for state in states:
        if state.input == asked.state:
            break
        begins += state.size
    else:
        known = ", ".join(state.input for state in states) or "none"
        raise InvalidField(f"{field}.state", f"must be one of {known}; is {asked.state[:MAX_NAME_LENGTH]!r}")
    if len(asked.units) > MAX_UNITS:
        raise InvalidField(f"{field}.units", f"must be at most {MAX_UNITS}, are {len(asked.units)}")
    if not asked.units and state.size > MAX_UNITS:
        raise InvalidField(f"{field}.units", f"must be named: {asked.state} has {state.size}, more than {MAX_UNITS}")
    for i, unit in enumerate(asked.units):
        if unit >= state.size:
            raise InvalidField(f"{field}.units[{i}]", f"must be below {state.size}, is {unit}")
    return begins + np.array(list(asked.units) or range(state.size), np.int64)


def softmax(logits: Sequence[float]) -> list[float]:
    """Return the probabilities of logits."""
    highest = max(logits)
    masses = [math.exp(each - highest) for each in logits]
    total = math.fsum(masses)
    return [mass / total for mass in masses]

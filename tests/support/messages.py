"""Requests made from descriptors: every field that can hold a text or bytes holds the same ones."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from unrolled.v1 import generation_pb2, model_pb2, sequence_pb2, session_pb2

_FILES = (generation_pb2, sequence_pb2, session_pb2, model_pb2)
_DEPTH = 6


def find_methods() -> list[MethodDescriptor]:
    """Return every method of the server's own services."""
    services = [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


def make_messages(kind: Descriptor, text: str) -> Iterator[Any]:
    """Yield a message with the text everywhere, and one for each single place, of a type.

    Numbers and booleans keep their defaults. A ``oneof`` has the last of its fields in the first message.
    """
    yield _filled(kind, text)
    for field in kind.fields:
        message = _new(kind)
        _fill(message, field, text, _DEPTH)
        if message.ByteSize():
            yield message


def _new(kind: Descriptor) -> Any:
    return message_factory.GetMessageClass(kind)()


def _filled(kind: Descriptor, text: str, depth: int = _DEPTH) -> Any:
    message = _new(kind)
    for field in kind.fields if depth else ():
        _fill(message, field, text, depth)
    return message


def _fill(message: Any, field: FieldDescriptor, text: str, depth: int) -> None:
    place = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
        if key.type == FieldDescriptor.TYPE_STRING:
            place[text] = text if value.type == FieldDescriptor.TYPE_STRING else 1
    elif kind is not None:
        inner = _filled(kind, text, depth - 1)
        if inner.ByteSize():
            (place.add() if field.is_repeated else place).CopyFrom(inner)
    elif field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
        content = text if field.type == FieldDescriptor.TYPE_STRING else text.encode()
        if field.is_repeated:
            place.append(content)
        else:
            setattr(message, field.name, content)

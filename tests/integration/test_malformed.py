"""Bytes that are no messages, and messages that were damaged, to every method of both listeners."""

import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.refusals import refusal
from tests.support.serving import serving
from unrolled.admin.v1 import admin_pb2
from unrolled.v1 import generation_pb2, model_pb2, sequence_pb2, session_pb2
from unrolled_service.models.bundle import Bundle

PUBLIC = (generation_pb2, model_pb2, sequence_pb2, session_pb2, health_pb2, reflection_pb2)
PRIVATE = (admin_pb2, health_pb2, reflection_pb2)
SAMPLES, DEPTH, TIMEOUT_S = 24, 3, 60.0
ENDLESS = {"grpc.health.v1.Health.Watch"}
DEFECTS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED}
NO_MESSAGE = b"\xff\xff\xff\xff"


def methods(*files: Any) -> list[MethodDescriptor]:
    services: list[ServiceDescriptor] = [each for file in files for each in file.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


CALLS = [
    pytest.param(where, method, id=f"{where}-{method.full_name}")
    for where, files in (("public", PUBLIC), ("private", PRIVATE))
    for method in methods(*files)
]


@pytest.fixture(scope="module")
def channels(alphabet: Bundle) -> Iterator[dict[str, grpc.Channel]]:
    settings: dict[str, Any] = {"max_tokens": 500, "drain_grace_s": 0.0}
    with serving(alphabet, admin_listen="127.0.0.1:0", **settings) as server:
        assert server.admin_address is not None
        with grpc.insecure_channel(server.address) as public, grpc.insecure_channel(server.admin_address) as private:
            yield {"public": public, "private": private}


def fill(kind: Descriptor | None, depth: int = 0) -> Message:
    """Return a message in which every field says something."""
    assert kind is not None
    message = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if depth == DEPTH or field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            value: Any = fill(field.message_type, depth + 1)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                getattr(message, field.name).CopyFrom(value)
            continue
        numbers = {FieldDescriptor.CPPTYPE_STRING: "a", FieldDescriptor.CPPTYPE_BOOL: True}
        value = b"a" if field.type == FieldDescriptor.TYPE_BYTES else numbers.get(field.cpp_type, 1)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return message


def damage(whole: bytes, chance: random.Random) -> bytes:
    """Return bytes that were whole, with a few changed, lost or added."""
    content = bytearray(whole)
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(content) + 1)
        match chance.randrange(4):
            case 0 if content:
                content[at % len(content)] ^= 1 << chance.randrange(8)
            case 1:
                del content[at:]
            case 2:
                content[at:at] = chance.randbytes(chance.randint(1, 12))
            case _:
                content[at:at] = b"\xff" * 9 + b"\x01"
    return bytes(content)


def send(channel: grpc.Channel, method: MethodDescriptor, content: bytes) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    sends, gets = method.client_streaming, method.server_streaming
    kind = f"{'stream' if sends else 'unary'}_{'stream' if gets else 'unary'}"
    call = getattr(channel, kind)(path, request_serializer=None, response_deserializer=None)
    reply = call(iter([content]) if sends else content, timeout=TIMEOUT_S)
    for _ in reply if gets else ():
        if method.full_name in ENDLESS:
            reply.cancel()
            return


def end(channel: grpc.Channel, method: MethodDescriptor, content: bytes) -> grpc.StatusCode:
    """Return how a call ends."""
    try:
        send(channel, method, content)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize(("where", "method"), CALLS)
def test_what_is_no_message_is_an_invalid_argument(
    channels: dict[str, grpc.Channel], where: str, method: MethodDescriptor
) -> None:
    assert_refused(channels[where], method, NO_MESSAGE)


@pytest.mark.parametrize(("where", "method"), CALLS)
def test_damaged_messages_have_documented_ends(
    channels: dict[str, grpc.Channel], where: str, method: MethodDescriptor
) -> None:
    chance = random.Random(method.full_name)
    whole = fill(method.input_type).SerializeToString()
    for content in (b"", whole, *(damage(whole, chance) for _ in range(SAMPLES)), chance.randbytes(64)):
        try:
            message_factory.GetMessageClass(method.input_type).FromString(content)
        except DecodeError:
            assert_refused(channels[where], method, content)
            continue
        assert end(channels[where], method, content) not in DEFECTS, content


def assert_refused(channel: grpc.Channel, method: MethodDescriptor, content: bytes) -> None:
    said = refusal(lambda: send(channel, method, content))
    assert (said.code, said.reason, said.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "request"), content

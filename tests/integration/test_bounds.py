"""Every field of every request at its bounds and past them, over real gRPC: it is accepted, or refused by its name."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.support.alphabet import write_bundle
from tests.support.bounds import BOUNDS, FOLDER, WORLD, Bound, Choice, Flag, Many, Number, Text
from tests.support.reference import Shapes
from tests.support.refusals import read_refusal
from tests.support.serving import serving
from unrolled.admin.v1 import admin_pb2
from unrolled.v1 import generation_pb2, model_pb2, sequence_pb2, session_pb2
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.session_pb2 import CreateSessionRequest, ExportSnapshotRequest, GetSessionRequest
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.settings import Settings

PROTOS = Path(__file__).resolve().parents[2] / "proto"
METHODS: dict[str, MethodDescriptor] = {
    method.input_type.name: method
    for file in (generation_pb2, sequence_pb2, session_pb2, model_pb2, admin_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
KINDS = (
    *("tagger", "tagger-vectors", "classifier", "classifier-tokens"),
    *("drawer", "drawer-vector", "composer", "translator", "translator-vectors"),
)
LIMITS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
}
TOO_LONG = 100_000
BIASES = 1024
WIDE = [chr(0x4E00 + i) for i in range(BIASES + 1)]
BASES: dict[str, dict[str, Any]] = {
    "GenerateRequest": {"model": "alphabet", "prompt": "a", "max_tokens": 1},
    "GenerateRequest/drawer": {"model": "drawer", "max_tokens": 1, "condition": {"label": "low"}},
    "GenerateRequest/drawer-vector": {"model": "drawer-vector", "max_tokens": 1},
    "ScoreRequest": {"model": "alphabet", "text": "ab", "per_token": True},
    "ScoreRequest/composer": {"model": "composer", "text": "ux"},
    "StepRequest": {"opening": {"model": "tagger"}, "inputs": {"text": "a"}},
    "StepRequest/tagger-vectors": {"opening": {"model": "tagger-vectors"}},
    "ClassifyRequest": {"opening": {"model": "classifier-tokens"}, "inputs": {"text": "a"}},
    "ClassifyRequest/classifier": {"opening": {"model": "classifier"}},
    "TransduceRequest": {"model": "translator", "source": {"text": "a"}, "max_tokens": 1},
    "TransduceRequest/translator-vectors": {"model": "translator-vectors", "max_tokens": 1},
    "CreateSessionRequest": {"model": "alphabet", "ttl": {"seconds": 5}},
    "ImportSnapshotRequest": {"ttl": {"seconds": 5}},
    "LoadModelRequest": {"bundle": FOLDER},
    "UnloadModelRequest": {"model": "no such model"},
}
WATCHED = {"state": "h0"}
BASES |= {f"{name}/watched": BASES[name] | {"activations": WATCHED} for name in ("GenerateRequest", "ScoreRequest")}
BASES |= {
    f"{name}/watched": BASES[name] | {"opening": BASES[name]["opening"] | {"activations": WATCHED}}
    for name in ("StepRequest", "ClassifyRequest")
}


def walk(message: Descriptor, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Yield every field below a message that has a value of its own, by its path."""
    for field in message.fields:
        here = f"{path}{field.name}"
        nested = field.message_type
        if nested is None or nested.GetOptions().map_entry or field.is_repeated:
            yield here, field
        if nested is not None and not nested.GetOptions().map_entry:
            yield from walk(nested, f"{here}.")


FIELDS = {(name, path): field for name, method in METHODS.items() for path, field in walk(method.input_type)}


@dataclass(frozen=True)
class World:
    """A server that serves a bundle of every kind that requests are tried on."""

    channel: grpc.Channel
    admin: grpc.Channel

    def session(self) -> str:
        stub = SessionServiceStub(self.channel)
        return str(stub.CreateSession(CreateSessionRequest(model="alphabet")).session.id)

    def base(self, name: str) -> Message:
        """Return a request that is right, with what it needs."""
        request = GetMessageClass(METHODS[name.partition("/")[0]].input_type)(**BASES.get(name, {}))
        fields = request.DESCRIPTOR.fields_by_name
        if "session_id" in fields and name not in BASES:
            request.session_id = self.session()  # type: ignore[attr-defined]
        if "snapshot" in fields:
            stub = SessionServiceStub(self.channel)
            asked = ExportSnapshotRequest(session_id=self.session())
            request.snapshot = stub.ExportSnapshot(asked).snapshot  # type: ignore[attr-defined]
        return request

    def call(self, request: Message) -> None:
        """Make the call to its end."""
        method = METHODS[request.DESCRIPTOR.name]
        kind = {(False, False): "unary_unary", (False, True): "unary_stream"} | {
            (True, False): "stream_unary",
            (True, True): "stream_stream",
        }
        streams = (method.client_streaming, method.server_streaming)
        path = f"/{method.containing_service.full_name}/{method.name}"
        channel = self.admin if method.containing_service.file.package == "unrolled.admin.v1" else self.channel
        stub = getattr(channel, kind[streams])(path, type(request).SerializeToString, lambda reply: reply)
        answer = stub(iter([request]) if streams[0] else request, timeout=60)
        for _ in answer if streams[1] else ():
            pass


@pytest.fixture(scope="module")
def world(alphabet: Bundle, shapes: Shapes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / FOLDER, name="loaded")
    wide = load_bundle(write_bundle(folder / "wide", name="wide", letters=WIDE))
    bundles = [alphabet, wide, *map(shapes.bundle, KINDS)]
    options = (("grpc.max_send_message_length", 1 << 22),)
    with (
        serving(*bundles, engine_threads=1, admin_listen="127.0.0.1:0", bundles_folder=folder, **WORLD) as server,
        grpc.insecure_channel(server.address, options) as channel,
        grpc.insecure_channel(str(server.admin_address), options) as admin,
    ):
        yield World(channel, admin)


def put(request: Message, path: str, value: Any) -> None:
    """Set a field by its path; below a list, in a list of one."""
    *way, last = path.split(".")
    target: Any = request
    for name in way:
        nested = getattr(target, name)
        if target.DESCRIPTOR.fields_by_name[name].is_repeated:
            del nested[:]
            target = nested.add()
        else:
            nested.SetInParent()
            target = nested
    field = target.DESCRIPTOR.fields_by_name[last]
    if not field.is_repeated:
        setattr(target, last, value)
        return
    target.ClearField(last)
    held = getattr(target, last)
    if isinstance(value, dict):
        held.update(value)
    elif field.message_type:
        for each in value:
            held.add(values=each)
    else:
        held.extend(value)


def numbers(bound: Number, field: FieldDescriptor) -> Iterator[tuple[float, bool]]:
    """Yield numbers at a bound and past it, and whether they are within."""
    if field.type == FieldDescriptor.TYPE_FLOAT:
        low, high = np.float32(bound.low), np.float32(bound.high)
        with np.errstate(over="ignore"):
            below, above = np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))
        tried: list[float] = [-1.0, 0.0, 2.0**63, *map(float, (low, high, below, above)), math.nan, math.inf, -math.inf]
        within = [bool(low <= np.float32(each) <= high) for each in tried]
    else:
        lowest, highest = LIMITS[field.type]
        asked = {-1, 0, bound.low, bound.high, bound.low - 1, bound.high + 1, 2**63 - 1, 2**63, lowest, highest}
        tried = sorted(int(each) for each in asked if lowest <= each <= highest)
        within = [bound.low <= each <= bound.high for each in tried]
    return ((each, is_within or each in bound.also) for each, is_within in zip(tried, within, strict=True))


def texts(bound: Text, field: FieldDescriptor) -> Iterator[tuple[Any, bool]]:
    """Yield texts of as many characters as are allowed, and of more."""
    if bound.known:
        yield from ((known, True) for known in bound.known)
        yield from (("?" * length, False) for length in (0, 1, bound.high, bound.high + 1, TOO_LONG))
        return
    letter: Any = bound.letter.encode() if field.type == FieldDescriptor.TYPE_BYTES else bound.letter
    for length in sorted({0, 1, bound.low, bound.high, bound.high + 1, max(TOO_LONG, bound.high + 2)}):
        yield letter * length, bound.low <= length <= bound.high or (bound.may_be_empty and not length)


def lists(bound: Many, field: FieldDescriptor) -> Iterator[tuple[Any, bool]]:
    """Yield lists of as many entries as are allowed, and of more; and with entries that are not."""
    for count in sorted({0, bound.low, bound.high, bound.high + 1, 2 * bound.high + 2}):
        yield [bound.item] * count, bound.low <= count <= bound.high
    if bound.each is not None:
        for value, is_right in probes("", bound.each, field):
            yield [value] + [bound.item] * (max(bound.low, 1) - 1), is_right


def biases() -> Iterator[tuple[dict[str, float], bool]]:
    """Yield biases of tokens."""
    number: Any = generation_pb2.Sampling.DESCRIPTOR.fields_by_name["top_p"]
    for value, is_right in numbers(Number("", low=-100, high=100), number):
        yield {"x": value}, is_right
    yield {}, True
    yield {"u": 1.0, "v": -1.0}, True
    yield dict.fromkeys(WIDE, 1.0), False
    yield {"": 1.0}, False
    yield {"ab": 1.0}, False
    yield {"x" * TOO_LONG: 1.0}, False


def probes(path: str, bound: Bound, field: FieldDescriptor) -> Iterator[tuple[Any, bool]]:
    """Yield values to try, and whether each is within the bound."""
    match bound:
        case Many() if path.endswith("logit_bias"):
            yield from biases()
        case Many():
            yield from lists(bound, field)
        case Text():
            yield from texts(bound, field)
        case Number():
            yield from numbers(bound, field)
        case Choice() if field.enum_type is not None:
            known = {value.number for value in field.enum_type.values}
            yield from ((number, number in known) for number in (-1, *known, max(known) + 1, 2**31 - 1))
        case Flag():
            yield from ((False, True), (True, True))


def verdict(call: Callable[[], None]) -> tuple[str, str]:
    """Make a call; return the reason of its refusal, or OK, and the field that it names."""
    try:
        call()
    except grpc.RpcError as error:
        refused = read_refusal(error)
        return refused.reason, re.sub(r"\[.*?\]", "", refused.field)
    return "OK", ""


def test_every_field_of_every_request_has_its_bound() -> None:
    assert {*FIELDS} == {(name, path) for name, fields in BOUNDS.items() for path in fields}


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=[f"{name}.{path}" for name, path in FIELDS])
def test_a_bound_is_documented(name: str, path: str) -> None:
    bound, message, comments = BOUNDS[name][path], METHODS[name].input_type, ""
    for part in path.split("."):
        field = message.fields_by_name[part]
        if message.file.package.startswith("unrolled."):
            comments += " " + comments_of(message.file.name)[message.name, part]
        message = field.message_type or message

    assert bound.said in comments
    if bound.setting:
        default = Settings.model_fields[bound.setting].default
        assert f"{default:,.0f}" in comments
        assert WORLD[bound.setting] == getattr(bound, "high")  # noqa: B009


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=[f"{name}.{path}" for name, path in FIELDS])
def test_a_field_is_accepted_within_its_bounds_and_refused_by_name_past_them(
    world: World, name: str, path: str
) -> None:
    bound = BOUNDS[name][path]
    for value, is_within in probes(path, bound, FIELDS[name, path]):
        request = world.base(bound.base or name)
        put(request, path, value)
        reason, field = verdict(lambda request=request: world.call(request))  # type: ignore[misc]
        shown = f"{path} = {str(value)[:60]}: {reason} {field}"
        if is_within:
            assert reason == "OK" or reason in bound.otherwise, shown
        else:
            assert reason in ("INVALID_FIELD", "UNKNOWN_CHARACTER"), shown
            assert f"{path}.".startswith(f"{field}."), shown


@cache
def comments_of(file: str) -> dict[tuple[str, str], str]:
    """Return the comments above the fields of a proto file, by message and field."""
    found: dict[tuple[str, str], str] = {}
    message, said = "", list[str]()
    for line in (PROTOS / file).read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            said.append(text.removeprefix("//").strip())
            continue
        if opened := re.match(r"message (\w+) \{", text):
            message = opened[1]
        if field := re.match(r"[\w.<>, ]+ (\w+) = \d+;", text):
            found[message, field[1]] = " ".join(said)
        said = []
    return found


def test_as_many_tokens_may_be_biased_as_is_said(world: World) -> None:
    for count, said in ((BIASES, ("OK", "")), (BIASES + 1, ("INVALID_FIELD", "sampling.logit_bias"))):
        request = generation_pb2.GenerateRequest(model="wide", prompt=WIDE[0], max_tokens=1)
        request.sampling.logit_bias.update(dict.fromkeys(WIDE[:count], 1.0))
        assert verdict(lambda request=request: world.call(request)) == said  # type: ignore[misc]


def test_as_many_tokens_may_be_scored_one_by_one_as_is_said(alphabet: Bundle) -> None:
    with serving(alphabet) as server, grpc.insecure_channel(server.address) as channel:
        score = GenerationServiceStub(channel).Score
        for length, said in ((8192, ("OK", "")), (8193, ("INVALID_FIELD", "text"))):
            request = generation_pb2.ScoreRequest(text="a" * length, per_token=True)
            assert verdict(lambda request=request: score(request)) == said  # type: ignore[misc]


def test_a_session_that_no_id_names_is_not_found(world: World) -> None:
    call = SessionServiceStub(world.channel).GetSession
    assert verdict(lambda: call(GetSessionRequest(session_id="x" * 64))) == ("SESSION_NOT_FOUND", "")

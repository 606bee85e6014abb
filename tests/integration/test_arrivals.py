"""Calls that begin and bring no message: they end, and they count while they are there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.access import find_methods, path_of
from tests.support.alphabet import greedy_text
from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.v1.generation_pb2 import GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.session_pb2 import CreateSessionRequest
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

SHORT_S = 0.2
TIMEOUT_S = 30.0
OPEN = [
    method
    for file, service in ((health_pb2, "Health"), (reflection_pb2, "ServerReflection"))
    for method in file.DESCRIPTOR.services_by_name[service].methods
    if method.name != "List"
]
METHODS = {path_of(method): method for method in [*find_methods("unrolled.v1"), *OPEN]}
PRIVATE = {path_of(method): method for method in find_methods("unrolled.admin.v1")}
STREAMS = [path for path in METHODS if path.startswith(("/unrolled.v1.Gen", "/unrolled.v1.Seq"))]


@contextmanager
def begun(channel: grpc.Channel, path: str) -> Iterator[Any]:
    """A call of any method that sends its headers, and no message until the block ends."""
    is_over = threading.Event()

    def wait() -> Iterator[bytes]:
        is_over.wait(TIMEOUT_S)
        yield from ()

    call = channel.stream_stream(path)(wait(), timeout=TIMEOUT_S)
    try:
        yield call
    finally:
        is_over.set()
        call.cancel()


@pytest.fixture(scope="module")
def impatient(alphabet: Bundle) -> Iterator[Server]:
    with serving(alphabet, stall_timeout_s=SHORT_S, admin_listen="127.0.0.1:0") as server:
        yield server


def check_it_ends(address: str | None, method: MethodDescriptor) -> None:
    assert address is not None
    with grpc.insecure_channel(address) as channel, begun(channel, path_of(method)) as call:
        refused = refusal(lambda: list(call))
    assert (refused.code, refused.reason) == ("ABORTED", "READER_STALLED")
    assert refused.text == f"the first message did not come within {SHORT_S} s"


@pytest.mark.parametrize("path", METHODS)
def test_a_call_without_a_message_ends(impatient: Server, path: str) -> None:
    check_it_ends(impatient.address, METHODS[path])
    wait_until(lambda: not impatient._guard.calls, "the call is over")


@pytest.mark.parametrize("path", PRIVATE)
def test_a_call_of_an_operator_without_a_message_ends(impatient: Server, path: str) -> None:
    check_it_ends(impatient.admin_address, PRIVATE[path])


@pytest.mark.parametrize("path", STREAMS)
def test_a_call_counts_before_it_says_what_it_wants(alphabet: Bundle, path: str) -> None:
    with serving(alphabet, tenant_streams=1) as server, grpc.insecure_channel(server.address) as channel:
        request = GenerateRequest(prompt="a", max_tokens=5)
        with begun(channel, path):
            wait_until(lambda: server._guard.calls == 1, "the call has begun")
            assert SessionServiceStub(channel).CreateSession(CreateSessionRequest()).session.id
            refused = refusal(lambda: list(GenerationServiceStub(channel).Generate(request)))
            assert refused.reason == "QUOTA_EXCEEDED"
        wait_until(lambda: not server._guard.calls, "the call is over")
        text = "".join(each.chunk.text for each in GenerationServiceStub(channel).Generate(request))
        assert text == greedy_text("a", 5)


def test_health_may_be_watched_where_every_place_is_taken(alphabet: Bundle) -> None:
    with (
        serving(alphabet, max_streams=1, max_tokens=10**7, engine_threads=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        streams = GenerationServiceStub(channel)
        running = streams.Generate(GenerateRequest(prompt="a", max_tokens=10**7))
        next(running)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        running.cancel()

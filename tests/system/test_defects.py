"""A defect and a malformed message: the caller gets a documented status, never the words of the failure."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from tests.support.alphabet import greedy_text
from tests.support.server import ServerProcess, running_server, wait_until
from tests.system.broken_server import CANARY, POISON
from unrolled.v1 import generation_pb2, model_pb2, session_pb2
from unrolled_client import Client

MALFORMED = b"\xff\xff\xff\xffhunter2"
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (generation_pb2, session_pb2, model_pb2, health_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@pytest.fixture(scope="module")
def broken(bundle: Path) -> Iterator[ServerProcess]:
    with running_server(bundle, module="tests.system.broken_server") as running:
        yield running


@pytest.fixture
def call(broken: ServerProcess) -> Iterator[Callable[[str, bytes], grpc.RpcError]]:
    """Call a method with given bytes and return how it failed; the server serves on afterwards."""

    def fail(method: str, content: bytes) -> Any:
        streams = method in METHODS and METHODS[method].server_streaming
        with pytest.raises(grpc.RpcError) as failure:
            reply = (channel.unary_stream if streams else channel.unary_unary)(method)(content, timeout=30)
            for _ in reply:
                pass
        return failure.value

    with grpc.insecure_channel(broken.address) as channel:
        yield fail
    with Client(broken.address) as client:
        assert client.generate("hello", max_tokens=40, temperature=0).read() == greedy_text("hello", 40)
    wait_until(lambda: broken.read_metric("unrolled_slots_in_use") == 0, "every slot is free")


def words_of(failure: Any) -> str:
    """Return everything that the wire brought, as one text."""
    metadata = [*failure.initial_metadata(), *failure.trailing_metadata()]
    return repr([failure.code(), failure.details(), failure.debug_error_string(), metadata])


def read_details(failure: Any, kind: Any) -> list[Any]:
    found = []
    status = rpc_status.from_call(failure)
    assert status is not None
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def test_a_defect_tells_only_an_id(broken: ServerProcess, call: Callable[[str, bytes], grpc.RpcError]) -> None:
    request = generation_pb2.GenerateRequest(prompt=f"he{POISON}", max_tokens=5)
    failure: Any = call("/unrolled.v1.GenerationService/Generate", request.SerializeToString())
    assert failure.code() is grpc.StatusCode.INTERNAL
    (info,) = read_details(failure, ErrorInfo)
    assert (info.reason, info.domain) == ("INTERNAL", "unrolled")
    error_id = info.metadata["error_id"]
    assert error_id in failure.details()
    for secret in (CANARY, "canary", "hunter2", "passwd", "RuntimeError", "Traceback", "unrolled_service"):
        assert secret not in words_of(failure)
    log = broken.log.read_text()
    for secret in (CANARY, "canary", "hunter2", "passwd"):
        assert secret not in log
    (failed,) = (line for line in map(json.loads, log.splitlines()) if line.get("error_id") == error_id)
    *frames, kind = failed["exception"].partition("\n\n")[0].splitlines()
    assert kind == "RuntimeError"
    assert re.fullmatch(r'  File ".*/broken_server.py", line \d+, in .*\brun_or_break', frames[-1])
    assert failed["exception"].splitlines()[-1] == "unrolled_service.engine.SliceFailed"


@pytest.mark.parametrize("method", METHODS)
def test_a_malformed_message_is_refused(method: str, call: Callable[[str, bytes], grpc.RpcError]) -> None:
    failure: Any = call(method, MALFORMED)
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    (info,) = read_details(failure, ErrorInfo)
    assert info.reason == "INVALID_FIELD"
    (request,) = read_details(failure, BadRequest)
    assert len(request.field_violations) == 1
    for word in ("hunter2", "DecodeError", "parsing", "Wire", "Exception", "Traceback"):
        assert word not in words_of(failure)


@pytest.mark.parametrize("method", ["/unrolled.v1.GenerationService/Dance", "/other.Service/Generate", "/x"])
def test_an_unknown_method_is_unimplemented(method: str, call: Callable[[str, bytes], grpc.RpcError]) -> None:
    failure: Any = call(method, b"")
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused(call: Callable[[str, bytes], grpc.RpcError]) -> None:
    request = generation_pb2.GenerateRequest(prompt="a" * (2 << 20), max_tokens=5)
    failure: Any = call("/unrolled.v1.GenerationService/Generate", request.SerializeToString())
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

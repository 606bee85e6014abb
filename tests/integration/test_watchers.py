"""What anybody may call who can connect takes little of the server, however long and however often it is called."""

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.support.refusals import check_invalid, refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc import guard
from unrolled_service.rpc.arrival import MAX_OPEN_BYTES
from unrolled_service.server import Server

SERVING, UNKNOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAME_BYTES = MAX_OPEN_BYTES - 3  # beside the field's tag and length
FEW = 3


@pytest.fixture(scope="module")
def server(alphabet: Bundle) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "MAX_WATCHERS", FEW)
        with serving(alphabet, admin_listen="127.0.0.1:0") as running:
            yield running


@pytest.fixture(params=["public", "private"])
def channel(server: Server, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    address = server.address if request.param == "public" else server.admin_address
    assert address is not None
    with grpc.insecure_channel(address) as opened:
        yield opened


def named(length: int) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service="x" * length)


def test_a_name_that_is_asked_for_is_short(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(named(NAME_BYTES))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(named(NAME_BYTES))
    assert next(watch).status == UNKNOWN
    watch.cancel()

    for length in (NAME_BYTES + 1, 1_000_000):
        check_invalid(refusal(lambda length=length: health.Check(named(length))), "request")  # type: ignore[misc]
        check_invalid(refusal(lambda length=length: list(health.Watch(named(length)))), "request")  # type: ignore[misc]


def test_a_symbol_that_is_asked_for_is_short(channel: grpc.Channel) -> None:
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="x" * MAX_OPEN_BYTES)
    answers = ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
    refused = refusal(lambda: list(answers))
    check_invalid(refused, "request")
    assert refused.text == "request: must have at most 1024 bytes"


def test_so_many_may_watch_and_the_others_may_still_ask(server: Server, channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    wait_until(lambda: not server._guard.watchers, "nobody watches")
    watches = [health.Watch(named(0)) for _ in range(FEW)]
    assert [next(watch).status for watch in watches] == [SERVING] * FEW

    refused = refusal(lambda: list(health.Watch(named(0))))
    assert (refused.code, refused.reason, refused.retry_after_s) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 1.0)
    assert refusal(lambda: list(ServerReflectionStub(channel).ServerReflectionInfo(iter([])))).reason == "QUEUE_FULL"
    assert health.Check(named(0)).status == SERVING

    watches.pop().cancel()

    def has_place() -> bool:
        watch = health.Watch(named(0))
        try:
            return bool(next(watch).status == SERVING)
        except grpc.RpcError:
            return False
        finally:
            watch.cancel()

    wait_until(has_place, "the place of the one that left is free")
    for watch in watches:
        watch.cancel()

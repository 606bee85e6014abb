"""SIGTERM: health turns, new work is refused, what runs may finish, the exit status is 0."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.alphabet import greedy_text
from tests.support.server import ServerProcess, running_server, wait_until
from tests.support.windows import SMALL_WINDOW
from unrolled_client import Client
from unrolled_client.errors import Draining

ENDLESS = 100_000_000
LONG = 12_000  # more than fits into a small window, so that the stream waits for its reader
EXIT_LIMIT_S = 30
SERVICES = ["GenerationService", "SessionService", "ModelService"]


def is_refusing(server: ServerProcess) -> Callable[[], bool]:
    def has_turned() -> bool:
        try:
            server.read_page("/readyz")
        except HTTPError as refused:
            return refused.code == 503
        return False

    return has_turned


@pytest.mark.parametrize("name", ["", "model/alphabet", *(f"unrolled.v1.{each}" for each in SERVICES)])
def test_health_says_serving(server: ServerProcess, name: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_health_does_not_know_every_name(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="model/other"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_goes_at_once(bundle: Path, number: signal.Signals) -> None:
    with running_server(bundle) as server:
        server.process.send_signal(number)
        assert server.process.wait(EXIT_LIMIT_S) == 0


def test_a_running_stream_finishes_within_the_grace_time(bundle: Path) -> None:
    with (
        running_server(bundle, max_tokens=ENDLESS, drain_grace_s=120) as server,
        Client(server.address, options=SMALL_WINDOW) as client,
        Client(server.address, resume=None) as newcomer,
        client.generate("a", max_tokens=LONG, temperature=0) as stream,
    ):
        text = next(stream)
        assert newcomer.model().name == "alphabet"
        server.process.terminate()
        wait_until(is_refusing(server), "the server is draining")
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(Draining):
            newcomer.generate("a", max_tokens=1).read()
        with pytest.raises(Draining):
            newcomer.create_session()
        text += "".join(stream)
        assert text == greedy_text("a", LONG)
        assert server.process.wait(EXIT_LIMIT_S) == 0


def test_what_still_runs_after_the_grace_time_is_told(bundle: Path) -> None:
    def read_to_the_end(client: Client) -> str:
        stream = client.generate("a", max_tokens=ENDLESS, temperature=0)
        with pytest.raises(Draining) as told:
            stream.read()
        assert told.value.code is grpc.StatusCode.UNAVAILABLE
        return stream.text

    with (
        running_server(bundle, max_tokens=ENDLESS, drain_grace_s=0.5) as server,
        Client(server.address, resume=None) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        reading = [pool.submit(read_to_the_end, client) for _ in range(3)]
        wait_until(lambda: server.read_metric("unrolled_streams_active") == len(reading), "all streams run")
        server.process.terminate()
        for each in reading:
            text = each.result()
            assert text == greedy_text("a", len(text))
        assert server.process.wait(EXIT_LIMIT_S) == 0


def test_a_second_signal_ends_the_grace_time(bundle: Path) -> None:
    with (
        running_server(bundle, max_tokens=ENDLESS, drain_grace_s=3600) as server,
        Client(server.address, resume=None) as client,
        client.generate("a", max_tokens=ENDLESS) as stream,
    ):
        next(stream)
        server.process.terminate()
        wait_until(is_refusing(server), "the server is draining")
        server.process.terminate()
        with pytest.raises(Draining):
            stream.read()
        assert server.process.wait(EXIT_LIMIT_S) == 0

"""A real Prometheus scrapes a working server, and promtool reads its pages."""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.programs import demand
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.server import ServerProcess, wait_until
from unrolled_client import Client

ROOT = Path(__file__).resolve().parents[2]
STREAMS = 32
TOKENS = 500


@pytest.fixture
def prometheus(server: ServerProcess) -> Iterator[Prometheus]:
    with running_prometheus(server.metrics_url.removeprefix("http://")) as running:
        yield running


@pytest.mark.program("prometheus")
def test_prometheus_counts_what_the_callers_received(server: ServerProcess, prometheus: Prometheus) -> None:
    is_seen = threading.Event()

    def generate_until_seen(client: Client) -> tuple[int, int]:
        calls = tokens = 0
        while not (calls and is_seen.is_set()):
            calls += 1
            tokens += len(client.generate("a", max_tokens=TOKENS).read())
        return calls, tokens

    with Client(server.address) as client, ThreadPoolExecutor(STREAMS) as pool:
        work = [pool.submit(generate_until_seen, client) for _ in range(STREAMS)]
        try:
            wait_until(
                lambda: (prometheus.ask_number("max_over_time(unrolled_streams_active[1m])") or 0) > 1,
                "Prometheus sees streams at work",
                limit_s=60,
            )
        finally:
            is_seen.set()
        done = [each.result() for each in work]
    calls, tokens = (sum(column) for column in zip(*done, strict=True))
    assert calls >= STREAMS
    assert tokens == calls * TOKENS
    for query, value in {
        'unrolled_tokens_total{phase="generated"}': tokens,
        'unrolled_tokens_total{phase="prompt"}': calls,
        'unrolled_streams_total{finish="length"}': calls,
        'unrolled_rpc_total{code="OK"}': calls,
        "unrolled_time_to_first_token_seconds_count": calls,
        "unrolled_slots_in_use": 0,
        "up": 1,
    }.items():
        wait_until(lambda query=query, value=value: prometheus.ask_number(query) == value, f"{query} is {value}")  # type: ignore[misc]


@pytest.mark.program("promtool")
def test_the_metrics_page_is_clean(server: ServerProcess) -> None:
    with Client(server.address) as client:
        client.generate("a", max_tokens=50).read()
    result = subprocess.run(
        [demand("promtool"), "check", "metrics"],
        input=server.read_page(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.program("promtool")
def test_the_shipped_configuration_is_valid() -> None:
    config = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    result = subprocess.run(
        [demand("promtool"), "check", "config", config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr

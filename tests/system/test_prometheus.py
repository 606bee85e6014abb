"""A real Prometheus scrapes a working server, and promtool reads its pages."""

import json
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import demand
from tests.support.server import ServerProcess, wait_until
from unrolled_client import Client

ROOT = Path(__file__).resolve().parents[2]
STREAMS = 32
TOKENS = 500
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: unrolled
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> float | None:
        """Return the value of a query with one result; None where there is no result, or no answer yet."""
        try:
            reply = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        except OSError:
            return None
        result = reply["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def prometheus(server: ServerProcess, tmp_path: Path) -> Iterator[Prometheus]:
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(target=server.metrics_url.removeprefix("http://")))
    address = f"127.0.0.1:{find_free_port()}"
    command = [
        str(demand("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(timeout=30)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
                lambda: (prometheus.ask("max_over_time(unrolled_streams_active[1m])") or 0) > 1,
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
        wait_until(lambda query=query, value=value: prometheus.ask(query) == value, f"{query} is {value}")  # type: ignore[misc]


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

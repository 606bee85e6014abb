"""`unrolled top` against a real server."""

import subprocess
import sys

import pytest

from tests.support.server import ServerProcess
from unrolled_client import Client
from unrolled_client.cli.top import Watch

TOP = "from unrolled_client.cli import main; main()"


def test_it_counts_what_was_generated(server: ServerProcess) -> None:
    watch = Watch(server.metrics_url)
    with Client(server.address) as client, client.session() as session:
        session.generate("hello", max_tokens=500).read()
        view = watch.look()

    between = view.last
    assert view.now.readiness == "ready"
    assert between.increase("unrolled_tokens_total", model="alphabet", phase="generated") == 500
    assert between.increase("unrolled_tokens_total", phase="prompt") == 5
    assert view.history[-1] * between.seconds == pytest.approx(500)
    assert view.now.by("unrolled_sessions", "tier")["resident"] == 1
    for name in ("time_to_first_token", "inter_token_latency", "queue_wait"):
        assert between.quantile(0.99, f"unrolled_{name}_seconds") is not None
    assert between.mean("unrolled_slice_rows") == 1
    assert {*view.now.by("unrolled_slice_duration_seconds_count", "stage")} >= {"gather", "run", "settle"}


def test_a_pipe_gets_one_plain_frame(server: ServerProcess) -> None:
    command = [sys.executable, "-c", TOP, "top", "--once", "--interval", "0.2", "--url", server.metrics_url]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (result.returncode, result.stderr) == (0, "")
    assert "alphabet" in result.stdout
    assert "\x1b" not in result.stdout
    for title in ("models", "throughput", "latency", "slices", "sessions", "refused"):
        assert f"─ {title}" in result.stdout

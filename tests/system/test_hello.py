"""The whole way, through the programs: train the smallest model, export it, serve it, ask it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import running_server
from unrolled_client import Client


def unrolled(*arguments: str) -> str:
    command = [sys.executable, "-m", "unrolled_client", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_hello(cell: str, tmp_path: Path) -> None:
    run, bundle = str(tmp_path / "run"), tmp_path / "bundle"
    unrolled("train", "--text", "hello", "--cell", cell, "--threads", "1", "-o", run)
    unrolled("export", run, "--name", f"hello-{cell}", "-o", str(bundle))
    unrolled("verify", str(bundle))

    with running_server(bundle) as server, Client(server.address) as client:
        assert client.generate("h", max_tokens=4, temperature=0).read() == "ello"
        words = ["generate", "h", "--max-tokens", "4", "--temperature", "0", "--server", server.address]
        assert unrolled(*words).strip() == "ello"

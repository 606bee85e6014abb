"""The demo's load, as the compose file runs it, against a server that counts too."""

import ast
import string
import subprocess
import sys
from pathlib import Path

from tests.support.alphabet import write_bundle
from tests.support.server import running_server

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "load.py"
LETTERS = string.ascii_letters + string.punctuation + " "
OPTIONS = ("--callers", "2", "--sessions", "2", "--tokens", "40", "--seconds", "4")


def test_the_load_says_what_it_made(tmp_path: Path) -> None:
    with running_server(write_bundle(tmp_path / "alphabet", letters=LETTERS)) as server:
        command = [sys.executable, "-W", "error", str(SCRIPT), "--target", server.address, *OPTIONS]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (result.returncode, result.stderr) == (0, "")
        done = ast.literal_eval(result.stdout)
        assert done["stream"] > 0
        assert 0 < done["characters"] <= server.read_metric("unrolled_tokens_total", phase="generated")
        assert server.read_metric("unrolled_session_forks_total") >= done.get("talk", 0)


def test_a_load_without_a_server_fails() -> None:
    command = [sys.executable, str(SCRIPT), "--target", "127.0.0.1:9", "--callers", "1", "--seconds", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1

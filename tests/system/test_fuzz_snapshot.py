"""A coverage-guided search for bytes that the snapshot reader should not take, or trips over."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS = 150_000


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_a_short_search_finds_nothing(tmp_path: Path) -> None:
    options = [f"-runs={RUNS}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.support.fuzz_snapshot", *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr[-4000:]
    assert f"Done {RUNS} runs" in result.stderr
    assert not [*tmp_path.iterdir()]

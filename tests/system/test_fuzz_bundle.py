"""A bundle in which one bit is another is refused, or is exactly what it says; it never ends the process."""

import subprocess
import sys
from pathlib import Path

from tests.support.alphabet import write_bundle

ROOT = Path(__file__).resolve().parents[2]
SEED, SECONDS, LIMIT_S = 11, 5, 120


def test_flipped_bits_are_refused_or_harmless(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    command = [sys.executable, "-m", "tests.support.fuzz_bundle", str(folder), str(SEED), str(SECONDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert run.returncode == 0, run.stderr
    refused, exact = map(int, run.stdout.split())
    assert refused > exact > 0

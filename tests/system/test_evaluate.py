"""`unrolled evaluate` with a server of its own: a real process, which is gone afterwards."""

import hashlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.alphabet import LETTERS, greedy_text, write_bundle
from unrolled_client.evaluation.folder import find_bundle
from unrolled_service.settings import shipped_bundle

LIMIT_S = 120


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unrolled_client", "evaluate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def servers_of(folder: Path) -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if str(folder) in (each.info["cmdline"] or [])]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "alphabet")


def test_a_continuation_is_measured_and_the_bundle_stays_what_it_is(bundle: Path) -> None:
    before = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    wanted = greedy_text("abc", 20)
    done = evaluate(str(bundle), "--expect", f"abc={wanted}")
    assert (done.returncode, done.stdout) == (
        0,
        f"exact 1.0000 over 1 prompt: 'abc' is to be continued with '{wanted}'\n",
    )
    assert "Through the server: **exact 1.0000**" in (bundle / "README.md").read_text()
    assert hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest() == before
    assert servers_of(bundle) == []


def test_a_text_longer_than_a_server_takes_by_default_is_scored(bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    said = "a" + greedy_text("a", 75_000)
    text.write_text(LETTERS + said)
    share = len(said) / (len(said) + len(LETTERS))
    done = evaluate(str(bundle), "--text", str(text), "--share", repr(share), "--no-card")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nats_per_char 0.0000 over 75,000 characters, the last 100% of the text in one piece\n"


def test_a_shipped_bundle_is_found_by_its_name() -> None:
    assert find_bundle("shakespeare") == shipped_bundle()
    assert find_bundle("nothing") == Path("nothing")
    assert find_bundle("./shakespeare") == Path("shakespeare")


def test_a_server_that_does_not_start_says_why(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in ("manifest.json", "golden.json"):
        (broken / file).write_bytes((bundle / file).read_bytes())
    done = evaluate(str(broken), "--expect", "a=b")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the server did not start: ")
    assert "cell.onnx" in done.stderr
    assert done.stderr.count("\n") == 1

"""A recipe's training that was stopped, however rudely, ends in the weights of one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from unrolled_export.checkpoint import read_tensors
from unrolled_export.course import read_course
from unrolled_export.course_run import KIND, CourseRun
from unrolled_export.errors import CheckpointError
from unrolled_export.fitting import Round
from unrolled_export.interruption import Interrupted, Interruption
from unrolled_export.lesson import Settings
from unrolled_export.run import CHECKPOINT
from unrolled_export.trained import FILE_NAME

COMMAND = "import sys; from unrolled_export.cli import train; train()"
RECIPES = ["digits-draw", "tagger", "dates", "one-to-one"]


class Silence:
    """A reporter that may raise a flag after so many updates."""

    def __init__(self, interruption: Interruption | None = None, after: int = -1) -> None:
        self.interruption, self.left = interruption, after
        self.parts: list[str] = []

    def on_update(self, _part: str, done: int, total: int, /) -> None:
        assert 1 <= done <= total
        self.left -= 1
        if self.left == 0 and self.interruption is not None:
            self.interruption.signal_number = signal.SIGTERM

    def on_round(self, part: str, _each: Round, /) -> None:
        self.parts.append(part)


def _run(folder: Path, recipe: str, *, resume: bool = False, rounds: int = 3, seed: int = 1) -> CourseRun:
    run = CourseRun(recipe, Settings(seed, hidden=6, rounds=rounds, chunk=8), folder, "train")
    run.open(resume=resume)
    return run


def _assert_same(one: Path, other: Path) -> None:
    mine, theirs = (read_course(path) for path in (one, other))
    assert mine is not None
    assert theirs is not None
    assert (mine.figures, mine.rounds) == (theirs.figures, theirs.rounds)
    assert all(torch.equal(weight, theirs.weights[name]) for name, weight in mine.weights.items())
    assert (one / "curve.csv").read_bytes() == (other / "curve.csv").read_bytes()
    kept, found = (read_tensors(path / CHECKPOINT, KIND)["parts"] for path in (one, other))
    assert kept.keys() == found.keys()
    for part in kept:
        assert torch.equal(kept[part]["random_state"], found[part]["random_state"]), part
        assert all(torch.equal(weight, found[part]["weights"][name]) for name, weight in kept[part]["weights"].items())


@pytest.mark.parametrize("recipe", RECIPES)
def test_interrupted_course_ends_like_an_uninterrupted_one(recipe: str, tmp_path: Path) -> None:
    whole, watch = _run(tmp_path / "whole", recipe), Silence()
    whole.proceed(Interruption(), watch)
    assert watch.parts == [recipe] * 3 + ["digits-glimpses"] * 3 * (recipe == "digits-draw")
    longest = max(fitter.config.updates for fitter in whole.fitters.values())
    for stop in [3, longest, *[longest + 2] * len(whole.fitters)]:
        interruption = Interruption()
        torch.manual_seed(stop)
        with pytest.raises(Interrupted):
            _run(tmp_path / "parts", recipe, resume=True).proceed(interruption, Silence(interruption, after=stop))
        assert not (tmp_path / "parts" / FILE_NAME).exists()
    _run(tmp_path / "parts", recipe, resume=True).proceed(Interruption(), Silence())
    _assert_same(tmp_path / "whole", tmp_path / "parts")


def test_killed_process_resumes_to_the_same_weights(tmp_path: Path) -> None:
    words = ["tagger", "--hidden", "8", "--rounds", "4", "--threads", "1"]

    def start(folder: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words, "-o", str(tmp_path / folder), *more], stdout=subprocess.DEVNULL
        )

    killed = start("killed")
    file = tmp_path / "killed" / CHECKPOINT
    while not file.exists() and killed.poll() is None:
        time.sleep(0.002)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert len(read_tensors(file, KIND)["parts"]["tagger"]["rounds"]) < 4
    whole, resumed = start("whole"), start("killed", "--resume")
    assert (whole.wait(), resumed.wait()) == (0, 0)
    (tmp_path / "killed").rename(tmp_path / "resumed")
    _assert_same(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    words = ["one-to-one", "--threads", "1", "--hidden", "8", "--rounds", "10000", "-o", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (tmp_path / "run" / CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 128 + number
    assert "--resume" in output
    assert "Traceback" not in output
    assert (tmp_path / "run" / "curve.png").is_file()


def test_checkpoint_of_something_else_is_refused(tmp_path: Path, invoke_train: Callable[..., Result]) -> None:
    _run(tmp_path / "run", "tagger", rounds=1).proceed(Interruption(), Silence())
    with pytest.raises(CheckpointError, match="seed was 1 and is now 3"):
        _run(tmp_path / "run", "tagger", resume=True, rounds=1, seed=3)
    with pytest.raises(CheckpointError, match="recipe was tagger and is now dates"):
        _run(tmp_path / "run", "dates", resume=True, rounds=1)
    result = invoke_train("hello", "-o", tmp_path / "run", "--resume")
    assert result.exit_code == 1
    assert "does not hold unrolled.checkpoint" in result.output
    (tmp_path / "run" / CHECKPOINT).unlink()
    with pytest.raises(CheckpointError, match="already holds what was trained"):
        _run(tmp_path / "run", "tagger", resume=True, rounds=1)


def test_finished_course_is_measured_again(tmp_path: Path) -> None:
    first = _run(tmp_path / "run", "one-to-one", rounds=1).proceed(Interruption(), Silence())
    again = _run(tmp_path / "run", "one-to-one", resume=True, rounds=1).proceed(Interruption(), Silence())
    assert again.figures == first.figures

"""A run that was stopped, however rudely, ends in the weights of one that was not."""

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
from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig, TrainingConfig
from unrolled_export.corpus import Corpus, read_text
from unrolled_export.curve import CurveRow
from unrolled_export.interruption import Interrupted, Interruption
from unrolled_export.run import CHECKPOINT, Run
from unrolled_export.trained import FILE_NAME, read_trained
from unrolled_export.training import Trainer

COMMAND = "import sys; from unrolled_export.cli import train; train()"


class Silence:
    """A reporter that may raise a flag after a number of updates."""

    def __init__(self, interruption: Interruption | None = None, after: int = -1) -> None:
        self.interruption, self.left = interruption, after

    def on_chunk(self, _trainer: Trainer, _loss: float, _chars_per_s: float, /) -> None:
        self.left -= 1
        if self.left == 0 and self.interruption is not None:
            self.interruption.signal_number = signal.SIGTERM

    def on_epoch(self, row: CurveRow, is_best: bool) -> None: ...

    def on_measure(self, done: int, total: int) -> None: ...


def _run(folder: Path, text: Path, cell: CellKind, *, resume: bool = False) -> Run:
    model = ModelConfig(cell=cell, hidden=12, embedding=5, dropout=0.2, weight_dropout=0.2, input_dropout=0.1)
    training = TrainingConfig(streams=4, chunk=25, epochs=3, average=0.9)
    run = Run(folder, Trainer(model, training, Corpus.of(read_text(text), text.name, 0.1)), "train", 1e9)
    run.open(resume=resume)
    return run


def _assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = (read_tensors(path / CHECKPOINT, "unrolled.checkpoint") for path in (one, other))
    assert mine["progress"] == theirs["progress"]
    for name, weight in mine["weights"].items():
        assert torch.equal(weight, theirs["weights"][name]), name
    if mine["average"] is not None:
        for name, weight in mine["average"]["weights"].items():
            assert torch.equal(weight, theirs["average"]["weights"][name]), name
    kept, found = read_trained(one / FILE_NAME), read_trained(other / FILE_NAME)
    assert kept.epoch == found.epoch
    assert kept.evaluation == found.evaluation
    assert all(torch.equal(weight, found.weights[name]) for name, weight in kept.weights.items())


@pytest.mark.parametrize("cell", CELL_KINDS)
def test_interrupted_run_ends_like_an_uninterrupted_one(cell: CellKind, text_file: Path, tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole", text_file, cell)
    whole.proceed(Interruption(), Silence())
    chunks = whole.trainer.streams.chunks
    for stop in (3, chunks, chunks + 4):
        run = _run(tmp_path / "parts", text_file, cell, resume=True)
        interruption = Interruption()
        with pytest.raises(Interrupted):
            run.proceed(interruption, Silence(interruption, after=stop - run.trainer.step))
        assert run.trainer.step == stop
    torch.manual_seed(987)
    _run(tmp_path / "parts", text_file, cell, resume=True).proceed(Interruption(), Silence())
    _assert_same_weights(tmp_path / "whole", tmp_path / "parts")


def test_killed_process_resumes_to_the_same_weights(text_file: Path, tmp_path: Path) -> None:
    words = [
        str(text_file),
        "--hidden",
        "24",
        "--streams",
        "2",
        "--chunk",
        "20",
        "--epochs",
        "3",
        "--dropout",
        "0.1",
    ]
    words += ["--threads", "1"]

    def start(folder: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words, "-o", str(tmp_path / folder), *more],
            stdout=subprocess.DEVNULL,
        )

    killed = start("killed", "--checkpoint-every", "0.05")
    file = tmp_path / "killed" / CHECKPOINT
    while not file.exists() and killed.poll() is None:
        time.sleep(0.002)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    progress = read_tensors(file, "unrolled.checkpoint")["progress"]
    assert progress["epoch"] < 3
    whole, resumed = start("whole"), start("killed", "--resume")
    assert (whole.wait(), resumed.wait()) == (0, 0)
    _assert_same_weights(tmp_path / "whole", tmp_path / "killed")


def test_run_stops_after_its_patience(text_file: Path, tmp_path: Path, invoke_train: Callable[..., Result]) -> None:
    small = ("--hidden", "8", "--streams", "2", "--chunk", "20", "--precision", "fp32")
    words = (text_file, "-o", tmp_path / "run", *small, "--learning-rate", "1e-30", "--epochs", "9", "--patience", "2")
    for more in ((), ("--resume",)):
        assert invoke_train(*words, *more).exit_code == 0
        assert len((tmp_path / "run" / "curve.csv").read_text().splitlines()) == 1 + 3
    assert read_trained(tmp_path / "run" / FILE_NAME).epoch == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_says_how_to_go_on(number: signal.Signals, text_file: Path, tmp_path: Path) -> None:
    words = [str(text_file), "--threads", "1", "--hidden", "16", "--streams", "2", "--chunk", "20", "--epochs", "10000"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words, "-o", str(tmp_path / "run"), "--checkpoint-every", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (tmp_path / "run" / CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 128 + number
    assert "--resume" in output
    assert "Traceback" not in output

"""Every mistake of a caller's is one clear line, a non-zero exit code and no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from unrolled_export.cli import export

Train = Callable[..., Result]
SMALL = ("--hidden", "8", "--layers", "1", "--streams", "2", "--chunk", "10", "--epochs", "1")


def _assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code not in (0, None)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    message = " ".join(result.output.split())
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["verse.txt is empty"]),
        (b"aaaaaaaa", ["verse.txt", "only one symbol, 'a'"]),
        (b"good\xffbad", ["verse.txt is not UTF-8", "0xff at offset 4"]),
        (b"too short", ["verse.txt is too short", "2 streams x 10 steps", "needs 21", "has 9"]),
    ],
)
def test_text_that_cannot_be_learned(content: bytes, words: list[str], tmp_path: Path, invoke_train: Train) -> None:
    file = tmp_path / "verse.txt"
    file.write_bytes(content)
    _assert_refused(invoke_train(file, "-o", tmp_path / "run", *SMALL, "--validation", "0"), *words)
    assert not (tmp_path / "run").exists()


def test_validation_part_too_short(tmp_path: Path, invoke_train: Train) -> None:
    file = tmp_path / "verse.txt"
    file.write_text("abcdefgh" * 10)
    result = invoke_train(file, "-o", tmp_path / "run", *SMALL, "--validation", "0.02")
    _assert_refused(result, "verse.txt: the validation part of 0.02 is 1 of 80 characters", "at least 2")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ["either TEXTFILE or --text"]),
        (["--text", "hello", "--chunk", "3"], ["--chunk does not go with --text"]),
        (["--text", "hello", "--layers", "0"], ["--layers", "1<=x<=16"]),
        (["--text", "hello", "--dropout", "1"], ["--dropout", "0<=x<1"]),
        (["--text", "hello", "--cell", "transformer"], ["--cell", "'rnn', 'gru', 'lstm'"]),
        (["--text", "hello", "--learning-rate", "0"], ["--learning-rate"]),
        (["--text", ""], ["--text is empty"]),
        (["--text", "ooo"], ["only one symbol"]),
        (["--text", "hello", "--seed", "-1"], ["--seed"]),
        (["nowhere.txt"], ["nowhere.txt", "does not exist"]),
    ],
)
def test_options_out_of_range(words: list[str], told: list[str], tmp_path: Path, invoke_train: Train) -> None:
    _assert_refused(invoke_train(*words, "-o", tmp_path / "run"), *told)
    assert not (tmp_path / "run").exists()


def test_folder_with_a_run_is_continued_only_on_request(text_file: Path, tmp_path: Path, invoke_train: Train) -> None:
    words = (text_file, "-o", tmp_path / "run", *SMALL)
    assert invoke_train(*words).exit_code == 0
    _assert_refused(invoke_train(*words), "already holds a run", "--resume")
    assert invoke_train(*words, "--resume").exit_code == 0
    _assert_refused(
        invoke_train(*words, "--resume", "--hidden", "9", "--clip", "2"),
        "hidden was 8 and is now 9",
        "clip was 1.0",
    )
    text_file.write_text(text_file.read_text() + "burp")
    _assert_refused(invoke_train(*words, "--resume"), "another text than verse.txt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half an archive"])
def test_damaged_checkpoint(content: bytes, text_file: Path, tmp_path: Path, invoke_train: Train) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(content)
    _assert_refused(invoke_train(text_file, "-o", tmp_path / "run", *SMALL, "--resume"), "checkpoint.pt", "damaged")
    (tmp_path / "run" / "best.pt").write_bytes(content)
    result = CliRunner().invoke(export, [str(tmp_path / "run"), "-o", str(tmp_path / "bundle")])
    _assert_refused(result, "best.pt", "damaged")


def test_export_of_what_is_no_trained_model(hello_runs: dict[str, Path], tmp_path: Path) -> None:
    for source, told in (
        (tmp_path, "best.pt cannot be read"),
        (hello_runs["rnn"] / "checkpoint.pt", "does not hold"),
    ):
        _assert_refused(CliRunner().invoke(export, [str(source), "-o", str(tmp_path / "bundle")]), told)
    result = CliRunner().invoke(export, [str(hello_runs["rnn"]), "-o", str(tmp_path / "No Name")])
    _assert_refused(result, "'No Name' cannot name a model")
    assert list(tmp_path.iterdir()) == []

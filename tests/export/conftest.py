"""Small trained models and bundles that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from unrolled_export.cli import export, train

CELLS = ("rnn", "gru", "lstm")


def _invoke_train(*words: str | Path) -> Result:
    return CliRunner().invoke(train, [str(word) for word in words])


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def invoke_train() -> Callable[..., Result]:
    """Run `unrolled train` in this process."""
    return _invoke_train


@pytest.fixture(scope="session")
def hello_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train each kind of cell on "hello" with the command's defaults."""
    folder = tmp_path_factory.mktemp("hello")
    for cell in CELLS:
        result = _invoke_train("--text", "hello", "--cell", cell, "-o", folder / cell)
        assert result.exit_code == 0, result.output
    return {cell: folder / cell for cell in CELLS}


@pytest.fixture(scope="session")
def hello_bundles(hello_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export each of them with the command."""
    folder = tmp_path_factory.mktemp("bundles")
    for cell, run in hello_runs.items():
        result = CliRunner().invoke(export, [str(run), "-o", str(folder / f"hello-{cell}")])
        assert result.exit_code == 0, result.output
    return {cell: folder / f"hello-{cell}" for cell in hello_runs}


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Write a small text with some structure."""
    path = tmp_path / "verse.txt"
    path.write_text("".join(f"{n} bottles of beer on the wall\n" for n in range(99, 0, -1)), encoding="utf-8")
    return path

"""The Python of README.md and docs/ runs as it is written, against a real server at the default address."""

import string
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.contract.documents import Block, find_blocks
from tests.support.alphabet import write_bundle
from tests.support.documented import run_python
from tests.support.server import ServerProcess, running_server
from unrolled_service.settings import shipped_bundle

TUTORIAL = "docs/tutorial.md"  # needs other models: see test_tutorial.py
BLOCKS = [
    block
    for block in find_blocks()
    if block.language == "python" and "no-run" not in block.words and not block.place.startswith(TUTORIAL)
]


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the shipped bundle; where that is not there, of one that takes any English prompt."""
    bundle = shipped_bundle()
    if not bundle.is_dir():
        folder = tmp_path_factory.mktemp("bundles") / "shakespeare"
        letters = string.ascii_letters + string.digits + string.punctuation + " \n"
        bundle = write_bundle(folder, name="shakespeare", letters=letters)
    with running_server(bundle) as running:
        yield running


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Block], Path]:
    """The folder in which a block runs: one for each document, as its reader would have."""

    @cache
    def make(document: str) -> Path:
        return tmp_path_factory.mktemp(document)

    return lambda block: make(Path(block.place).stem)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_runs(block: Block, documented: ServerProcess, folders: Callable[[Block], Path]) -> None:
    result = run_python(block, documented, folders(block))
    assert result.returncode == 0, result.stderr


def test_there_is_something_to_run() -> None:
    assert [block for block in BLOCKS if block.place.startswith("README.md")]

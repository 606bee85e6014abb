"""docs/tutorial.md: its programs and commands print what it shows, its figures are those of the bundles.

Commands that train, export or serve are left to tests/contract, which checks that their flags exist.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.contract.documents import ROOT, Block, find_blocks, find_runs
from tests.support.documented import run_python, run_unrolled
from tests.support.server import ServerProcess, running_server
from unrolled_export.manifest import parse_manifest
from unrolled_service.settings import shipped_bundle

DOCUMENT = "docs/tutorial.md"
TEXT = (ROOT / DOCUMENT).read_text()
BLOCKS = [block for block in find_blocks() if block.place.startswith(DOCUMENT)]
PROGRAMS = [
    pytest.param(block, after.body if after and after.language == "text" else "", id=block.place)
    for block, after in zip_longest(BLOCKS, BLOCKS[1:])
    if block.language == "python"
]
ASKING = {"generate", "step", "classify", "transduce"}
COMMANDS = [
    pytest.param(words[1:], shown, id=f"{block.place} {' '.join(words)}")
    for block in BLOCKS
    if block.language == "console"
    for words, shown in find_runs(block)
    if words[0] == "unrolled" and words[1] in ASKING
]


def lines_of(text: str) -> list[str]:
    """Drop what editors drop: spaces at the end of a line, and lines without anything at the end."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server(*(folder for folder in shipped_bundle().parent.iterdir() if folder.is_dir())) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, as a reader has: later commands read what an earlier program wrote."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.mark.parametrize(("block", "shown"), PROGRAMS)
def test_a_program_prints_what_is_shown(block: Block, shown: str, server: ServerProcess, folder: Path) -> None:
    done = run_python(block, server, folder)
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout) == lines_of(shown)


@pytest.mark.parametrize(("words", "shown"), COMMANDS)
def test_a_command_prints_what_is_shown(words: list[str], shown: str, server: ServerProcess, folder: Path) -> None:
    done = run_unrolled(words, server, folder)
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout) == lines_of(shown)


def test_its_figures_are_those_of_the_bundles() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| (?:(\w+) )?([\d.]+)(?: nats per character)? \|$", TEXT, re.M)
    assert {name for name, _, _ in rows} == {folder.name for folder in shipped_bundle().parent.iterdir()} - {"hello"}
    for name, figure, shown in rows:
        evaluation = parse_manifest((shipped_bundle(name) / "manifest.json").read_bytes()).evaluation
        measured = {each.name: each.value for each in evaluation.figures} or {"": evaluation.nats_per_char}
        assert f"{measured[figure]:.4f}" == shown, name
        if not figure:
            assert f"reaches {shown} nats" in TEXT


def test_its_pictures_are_there_and_small() -> None:
    pictures = [(ROOT / DOCUMENT).parent / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)]
    own = {*(ROOT / "docs" / "pictures").iterdir()}
    assert own <= {*pictures}
    assert all(picture.stat().st_size < 60_000 for picture in own)
    assert all(picture.resolve().is_file() for picture in pictures)

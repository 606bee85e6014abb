"""The small bundles that ship with the server: each proves itself and reaches its recipe's figure, all are tiny."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples.bundles import BUNDLES, SMALL
from unrolled_export.manifest import parse_manifest
from unrolled_export.recipes import RECIPES
from unrolled_export.replay import GREEDY, Cell, generate
from unrolled_export.verification import verify_bundle

LARGEST_BYTES = 900_000
IS_LOSS = {"absolute_error", "squared_error"}


def test_all_together_are_well_below_a_megabyte() -> None:
    files = [file for name in SMALL for file in (BUNDLES / name).rglob("*")]
    assert sum(file.stat().st_size for file in files) <= LARGEST_BYTES
    assert {folder.name for folder in BUNDLES.iterdir()} == {*SMALL, "shakespeare"}


@pytest.mark.parametrize("name", SMALL)
def test_bundle_proves_itself_and_says_how_it_was_made(name: str) -> None:
    folder: Path = BUNDLES / name
    verification = verify_bundle(folder)
    assert verification.is_ok, verification.checks
    assert f"\nunrolled train {name} " in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", [name for name in SMALL if RECIPES[name].module])
def test_figure_is_the_one_to_reach(name: str) -> None:
    (figure,) = parse_manifest((BUNDLES / name / "manifest.json").read_bytes()).evaluation.figures
    goal = re.match(r"(\w+) ([\d.]+)", RECIPES[name].goal)
    assert goal is not None
    assert figure.name == goal[1]
    bound = float(goal[2])
    assert figure.value <= bound if figure.name in IS_LOSS else figure.value >= bound


def test_hello_is_continued() -> None:
    manifest = parse_manifest((BUNDLES / "hello" / "manifest.json").read_bytes())
    cell = Cell((BUNDLES / "hello" / "cell.onnx").read_bytes(), manifest.states)
    choices = generate(cell, [list(manifest.vocabulary).index("h")], 4, GREEDY)
    assert "".join(manifest.vocabulary[choice.token] for choice in choices) == "ello"

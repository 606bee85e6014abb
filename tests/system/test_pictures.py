"""The script that draws the tutorial's pictures, asking a server of the models that ship."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.documented import LIMIT_S
from tests.support.server import ROOT

# `gradients` trains a model first; tests/export looks at what it draws.
QUICK = ["circles", "curves", "digits", "glimpses", "units"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, "-m", "examples.pictures", *QUICK, "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_draws_what_is_named_and_no_more(folder: Path) -> None:
    assert sorted(path.stem for path in folder.iterdir()) == QUICK


@pytest.mark.parametrize("name", QUICK)
def test_a_picture_is_wide_enough_and_as_the_one_in_the_documents(name: str, folder: Path) -> None:
    with Image.open(folder / f"{name}.png") as drawn, Image.open(ROOT / "docs" / "pictures" / f"{name}.png") as kept:
        assert drawn.width >= 800
        assert drawn.size == kept.size
        assert len(drawn.convert("RGB").getcolors(1 << 24) or ()) > 10

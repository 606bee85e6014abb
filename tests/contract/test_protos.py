"""The wire contract: its style, and the stubs made from it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.programs import demand
from tests.support.stubs import PROTO, find_stubs, generate_stubs


@pytest.mark.program("buf")
def test_the_protos_are_clean() -> None:
    lint = subprocess.run([demand("buf"), "lint", PROTO], capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


@pytest.mark.program("protoc")
def test_the_stubs_are_those_of_the_protos(tmp_path: Path) -> None:
    generate_stubs(tmp_path)
    made, kept = find_stubs(tmp_path), find_stubs(PROTO)
    assert sorted(made) == sorted(kept)
    assert [str(name) for name in made if made[name] != kept[name]] == [], "run: make proto"

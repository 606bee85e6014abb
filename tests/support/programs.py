"""Real programs that tests use where they are installed.

A test marked ``@pytest.mark.program("promtool")`` is skipped on a machine without promtool. Where the
environment variable UNROLLED_REQUIRE_PROGRAMS is 1 it fails instead: there, everything was installed.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import stubs

ROOT = Path(__file__).resolve().parents[2]
NODE_FOLDER = ROOT / "build" / "node"
NODE_PACKAGES = ROOT / "tests" / "system" / "node" / "package.json"
REQUIRE = "UNROLLED_REQUIRE_PROGRAMS"


class ProgramMissing(Exception):
    """A program cannot be used here; the message says why and what to do."""


def find_program(name: str) -> Path:
    """Return the path of a program: from this environment, else from PATH.

    Two names stand for more than a file: ``node`` needs the packages in build/node too, and ``protoc`` is
    the pinned generator's environment, which is built when it is asked for first.

    Raises:
        ProgramMissing: it is not here.
    """
    if name == "protoc":
        return _find_generator()
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ProgramMissing(f"{name} is not installed")
    if name == "node":
        _check_node_packages()
    return Path(found)


def demand(name: str) -> Path:
    """Return the path of a program, or end the running test: skipped, or failed where all must be there."""
    try:
        return find_program(name)
    except ProgramMissing as missing:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {missing}", pytrace=False)
        pytest.skip(str(missing))


def _check_node_packages() -> None:
    installed = NODE_FOLDER / "package.json"
    is_current = installed.exists() and installed.read_bytes() == NODE_PACKAGES.read_bytes()
    if not (is_current and (NODE_FOLDER / "node_modules" / "@grpc" / "grpc-js").is_dir()):
        raise ProgramMissing(
            "the packages of tests/system/node/package.json are not in build/node; copy it there and run"
            " npm install --no-package-lock"
        )


def _find_generator() -> Path:
    try:
        return stubs.make_generator()
    except stubs.GeneratorMissing as error:
        raise ProgramMissing(str(error)) from error

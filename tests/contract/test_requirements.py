"""Serving and calling need no torch: not by import, not by requirement."""

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORT_ALL = """
import pkgutil, sys
from importlib import import_module
for blocked in ("torch", "onnxscript"):
    sys.modules[blocked] = None
for root in sys.argv[1:]:
    for module in pkgutil.walk_packages(import_module(root).__path__, f"{root}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
            print(module.name)
"""


def required(extra: str) -> set[str]:
    """Return every distribution that an extra brings, with what those need in turn."""
    found: set[str] = set()
    todo = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]
    while todo:
        wanted = Requirement(todo.pop())
        name = canonicalize_name(wanted.name)
        if name == PROJECT["name"]:
            todo.extend(line for each in wanted.extras for line in PROJECT["optional-dependencies"][each])
        elif name not in found:
            found.add(name)
            for line in distribution(name).requires or []:
                marker = Requirement(line).marker
                if marker is None or any(marker.evaluate({"extra": each}) for each in ("", *wanted.extras)):
                    todo.append(line)
    return found


@pytest.mark.parametrize("root", ["unrolled_client", "unrolled_service"])
def test_a_program_loads_where_torch_cannot(root: str) -> None:
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, root]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"{root}.errors" in result.stdout.split()


@pytest.mark.parametrize("extra", ["cli", "service"])
def test_an_extra_brings_no_torch(extra: str) -> None:
    brought = required(extra)
    assert "grpcio" in brought
    assert not {name for name in brought if "torch" in name or name.startswith("nvidia")}


def test_every_requirement_is_pinned_by_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(Requirement(line).name) for line in lines if line.strip()}
    assert required("dev") - pinned <= {"setuptools"}

"""The hashed locks agree with what the project asks for, and the bill of materials with the locks."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.contract.test_requirements import PROJECT, required

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {name: ROOT / "locks" / f"{name}.txt" for name in ("service", "build")}


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of every distribution that a file pins, by its canonical name."""
    pins = re.findall(r"^([\w.-]+)==([^\s\\]+)", path.read_text(), re.M)
    return {canonicalize_name(name): version for name, version in pins}


PINS = {name: read_pins(path) for name, path in LOCKS.items()}


@pytest.mark.parametrize("name", LOCKS)
def test_everything_is_pinned_by_hash_to_the_version_of_the_constraints(name: str) -> None:
    constraints = read_pins(ROOT / "constraints.txt")
    assert PINS[name].items() <= constraints.items()
    for block in re.split(r"^(?=[\w.-]+==)", LOCKS[name].read_text(), flags=re.M)[1:]:
        assert re.match(r"[\w.-]+==[^\s\\]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", block), block
    assert "://" not in LOCKS[name].read_text()


def test_the_service_is_locked_as_a_whole_and_nothing_else() -> None:
    assert {*PINS["service"]} == required("service") | required("otel")
    assert not {name for name in PINS["service"] if "torch" in name or name.startswith("nvidia")}


def test_the_builder_is_locked() -> None:
    (builder,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert Requirement(builder).name in PINS["build"]


def test_the_locked_versions_are_those_that_the_project_takes() -> None:
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["cli"], *extras["service"], *extras["otel"]]:
        wanted = Requirement(line)
        if wanted.name != "unrolled":
            assert wanted.specifier.contains(PINS["service"][canonicalize_name(wanted.name)])


def test_the_locks_are_for_the_python_of_the_image() -> None:
    (locked,) = re.findall(r"--python-version (\S+)", (ROOT / "Makefile").read_text())
    assert {*re.findall(r"^FROM python:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.M)} == {locked}
    assert SpecifierSet(PROJECT["requires-python"]).contains(locked)


def test_the_bill_of_materials_is_what_is_locked(tmp_path: Path) -> None:
    recipe = re.search(r"^sbom:.*?\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    words = recipe[1].replace("\\\n", " ").partition("cyclonedx-py ")[2].split()
    file = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", *words[:-1], str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    bill: dict[str, Any] = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "unrolled")
    assert {canonicalize_name(each["name"]): each["version"] for each in bill["components"]} == PINS["service"]
    for each in bill["components"]:
        assert each["purl"] == f"pkg:pypi/{canonicalize_name(each['name'])}@{each['version']}"
        assert each["externalReferences"][0]["hashes"]

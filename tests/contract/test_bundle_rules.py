"""docs/bundles.md against the program: what a server accepts."""

import re
from pathlib import Path

from unrolled_service.models import limits
from unrolled_service.models.operators import SIZED_BY, STANDARD

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "bundles.md").read_text()
SECTION = TEXT.partition("## What a server accepts\n")[2].partition("\n## ")[0]


def test_the_operators_are_those_of_the_program() -> None:
    (block,) = re.findall(r"```text\n(.*?)```", SECTION, re.S)
    assert block.split() == sorted(STANDARD)


def test_the_bounds_are_those_of_the_program() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", SECTION, re.M))
    assert f"{limits.MANIFEST_BYTES >> 20} MiB" in rows["`manifest.json`"]
    assert rows["golden runs"] == f"{limits.GOLDEN_BYTES >> 20} MiB each"
    assert f"at most {limits.FILES}" in rows["names of files"]
    assert limits.STATE_NUMBERS == limits.WIDTH
    assert rows["states, widths"] == f"{limits.WIDTH:,} numbers"
    assert rows["extents of a state or a tensor"] == str(limits.RANK)
    spans = [f"{each.start} to {each.stop - 1}" for each in (limits.IR_VERSIONS, limits.OPSETS)]
    assert rows["IR version, opset"] == ", ".join(spans)
    assert limits.NODES == limits.INITIALIZERS
    assert f"{limits.NODES:,} each" in rows["nodes, initializers"]
    assert f"at most {limits.DEPTH} deep" in rows["nodes, initializers"]
    assert {*re.findall(r"`(\w+)`", rows["sizes of outputs"])} == {*SIZED_BY}

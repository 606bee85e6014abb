"""A short run of `make chaos`: every kind of fault, and not one wrong character."""

from pathlib import Path

import pytest

from chaos.__main__ import describe
from chaos.faults import KINDS
from chaos.run import Plan, run

pytestmark = [pytest.mark.program("redis-server"), pytest.mark.program("envoy")]


def test_no_character_is_wrong_whatever_breaks(tmp_path: Path) -> None:
    verdict, faults = run(Plan(seconds=12, sessions=16, seed=7, length=400), tmp_path, print)

    assert verdict.violations == [], "\n".join(describe(verdict, faults))
    assert verdict.wrong_characters == 0
    assert {fault.kind for fault in faults} == {*KINDS}
    assert verdict.characters > 1000
    assert verdict.resumed > 0
    assert min(verdict.calls[verb] for verb in ("create", "delete", "generate", "info", "rewind")) > 0

"""A few seconds of the soak: what it claims holds, and it tells what does not."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.mixture import Report
from bench.samples import Sample
from bench.soak import Soak, main

LEVEL = Sample(0.0, 100 << 20, threads=9, descriptors=12, active=0, waiting=0, slots=0, sessions=0, lag_s=0.001)

ALL = Counter(complete=5, cancelled=5, slow=1, talked=1, expired=1)


def make_soak(*memory_mib: int, after: Sample = LEVEL, report: Report | None = None) -> Soak:
    samples = [replace(LEVEL, memory_bytes=each << 20) for each in memory_mib]
    return Soak(samples, report or Report(ALL), reloads=1, freezes=1, before=LEVEL, after=after)


def unmet(soak: Soak) -> list[str]:
    return [target.name for target in soak.judge() if not target.is_met]


def test_a_short_soak_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--seconds", "8", "--picture", str(tmp_path / "soak.png")]) == 0
    told = json.loads((tmp_path / "build" / "soak.json").read_text())
    assert told["report"]["ends"]["complete"] > 0
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_what_levels_off_does_not_grow() -> None:
    assert unmet(make_soak(50, 70, 90, 100, 100, 101, 100, 101)) == []


def test_what_goes_on_growing_is_told() -> None:
    assert unmet(make_soak(100, 110, 120, 130, 140, 150, 160, 170)) == ["memory-growth-mib"]


def test_what_is_left_is_told() -> None:
    after = replace(LEVEL, active=1, slots=1, sessions=1, descriptors=13)
    left = ["active-at-the-end", "sessions-at-the-end", "slots-at-the-end", "descriptors-at-the-end"]
    assert unmet(make_soak(100, after=after)) == left


def test_what_is_wrong_is_told() -> None:
    assert unmet(make_soak(100, report=Report(ALL, wrong=["lstm gave 'x'"]))) == ["wrong"]


def test_what_was_not_done_is_told() -> None:
    lazy = replace(make_soak(100, report=Report(Counter(complete=8, cancelled=3))), reloads=0, freezes=0)
    assert unmet(lazy) == ["cancelled-share", "slow", "talked", "expired", "reloads", "freezes"]

from dataclasses import replace

import pytest

from bench.journal import Report
from bench.row import Row, merge
from bench.targets import Target, compare

REPORT = Report(1000.0, 10.0, 0.1, 0.2, 0.01, 0.02, 0.03, 0.04, 0.1, 0.01, 5, [])
RATIOS = {"served/R0": 1.118, "served/R1": 0.9, "engine/R1": 0.94, "CPU/R0": 0.5, "first/step": 31.0}
ROW = Row("2x256", "fp32", 64, 1.0, 1.0, 1.0, 1.0, 0.01, REPORT, None, RATIOS)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (Target("served/R0-fp32-64", 1.118, 1.0), "target served/R0-fp32-64 1.12 1.0 ok"),
        (Target("served/R0-fp32-64", 0.999, 1.0), "target served/R0-fp32-64 0.999 1.0 short"),
        (Target("first/step-fp32-64", 30.0, 30.0, is_upper=True), "target first/step-fp32-64 30 30.0 ok"),
        (
            Target("idle-cores-fp32-10000", 0.0123, 0.01, is_upper=True),
            "target idle-cores-fp32-10000 0.0123 0.01 short",
        ),
        (Target("served/R0-fp32-64", float("nan"), 1.0), "target served/R0-fp32-64 nan 1.0 short"),
    ],
)
def test_a_line_says_name_figure_bound_and_verdict(target: Target, line: str) -> None:
    assert str(target) == line


def test_rows_are_held_against_the_bounds_of_their_precision() -> None:
    rows = [ROW, replace(ROW, precision="int8"), replace(ROW, cell="2x512"), replace(ROW, streams=1)]

    lines = [str(target) for target in compare(rows, {})]

    assert lines == [
        "target served/R0-fp32-64 1.12 1.0 ok",
        "target served/R0-int8-64 1.12 2.2 short",
        "target engine/R1-fp32-64 0.94 0.95 short",
        "target engine/R1-int8-64 0.94 0.95 short",
        "target served/R1-2x512-fp32-64 0.9 0.9 ok",
        "target CPU/R0-int8-64 0.5 0.6 ok",
        "target first/step-fp32-64 31 30.0 short",
        "target first/step-int8-64 31 30.0 short",
    ]


def test_scenarios_are_held_against_theirs() -> None:
    scenarios = {
        "crowd-int8": {"ratio": 2.0},
        "single-characters-fp32": {"ratio": 0.8},
        "idle-fp32": {"cores": 0.002, "effect": 0.1},
    }

    assert [str(target) for target in compare([], scenarios)] == [
        "target joining/before-int8-64 2 3.0 ok",
        "target served/min(R1,RT)-fp32-1 0.8 0.75 ok",
        "target idle-cores-fp32-10000 0.002 0.01 ok",
        "target idle-effect-fp32-16 0.1 0.05 short",
    ]


def test_reports_merge_to_medians() -> None:
    reports = [replace(REPORT, chars_per_s=rate) for rate in (5.0, 1.0, 3.0)]

    merged = merge(reports)

    assert (merged.chars_per_s, merged.first_p50_s, merged.generations) == (3.0, 0.1, 15)

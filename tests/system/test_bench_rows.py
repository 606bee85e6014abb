"""Rows and scenarios in windows too short to tell how fast anything is: their figures fit together."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.cells import VOCABULARY, Shape
from bench.journal import Report
from bench.processes import running_null_server
from bench.roofs import Pace, make_stock_loop
from bench.row import ENGINE_ROWS, Cell, Row, Windows, measure_row
from bench.scenarios import measure_crowd, measure_single_characters
from tests.support.alphabet import write_bundle
from tests.support.server import running_server
from unrolled_service.models.bundle import load_bundle

WINDOWS = Windows(repetitions=1, roof_s=0.02, warm_up_s=0.05, load_s=0.3, null_s=0.1)
REPORT = Report(1.0, 10.0, 0.1, 0.2, 0.01, 0.02, 0.03, 0.04, 0.1, 1.0, 5, [])
RATIOS = {"served/R0", "served/R1", "served/RT", "CPU/R0", "first/step"}


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    folder, shape = write_bundle(tmp_path_factory.mktemp("row") / "alphabet", letters=VOCABULARY), Shape(1, 16)
    with running_null_server() as null_address, running_server(folder, engine_threads=1) as server:
        yield Cell(shape, "fp32", load_bundle(folder), make_stock_loop(shape), server, null_address)


def check_row(row: Row) -> None:
    """Check what holds of a row that was measured once."""
    served = row.served
    check_report(served)
    assert min(row.r0, row.r1, row.rt, row.r0_cpu_s_per_1000_chars) > 0
    assert row.ratios["served/R0"] == served.chars_per_s / row.r0
    assert row.ratios["served/R1"] == served.chars_per_s / row.r1
    assert row.ratios["served/RT"] == served.chars_per_s / row.rt
    assert row.ratios["CPU/R0"] == served.server_cpu_s_per_1000_chars / row.r0_cpu_s_per_1000_chars
    assert row.ratios["first/step"] == served.first_p50_s * row.r1 / row.streams


def check_report(report: Report) -> None:
    assert report.faults == []
    assert report.generations > 0
    assert report.chars_per_s > 0
    assert report.chars_per_message >= 1
    assert 0 < report.first_p50_s <= report.first_p99_s
    assert report.load_cores >= 0


def test_a_row_has_a_served_figure_and_its_roofs(cell: Cell) -> None:
    row = measure_row(cell, 2, WINDOWS)

    assert (row.cell, row.precision, row.streams) == ("1x16", "fp32", 2)
    assert (row.engine, row.open_loop, set(row.ratios)) == (None, None, RATIOS)
    check_row(row)


def test_a_row_of_64_has_an_engine_and_an_open_loop_too(cell: Cell) -> None:
    row = measure_row(cell, ENGINE_ROWS, WINDOWS)

    assert set(row.ratios) == RATIOS | {"engine/R1"}
    assert row.engine is not None
    assert row.engine > 0
    assert row.ratios["engine/R1"] == row.engine / row.r1
    assert row.open_loop is not None
    check_row(row)
    check_report(row.open_loop)


def test_a_ratio_is_the_median_of_the_turns_and_a_roof_the_mean_of_both_sides(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    roofs = iter([50.0, 150.0, 150.0, 250.0, 300.0, 500.0])
    rates = iter([100.0, 1000.0, 400.0, 2000.0, 400.0, 3000.0])  # the null server's after each
    monkeypatch.setattr("bench.row.program_loop", lambda *_: Pace(1000.0, 1.0))
    monkeypatch.setattr("bench.row.run_load", lambda _: replace(REPORT, chars_per_s=next(rates)))

    row = measure_row(replace(cell, stock_loop=lambda *_: Pace(next(roofs), 2.0)), 1, replace(WINDOWS, repetitions=3))

    assert (row.r0, row.r1, row.rt, row.served.chars_per_s) == (200, 1000, 2000, 400)
    assert (row.ratios["served/R0"], row.ratios["served/R1"], row.ratios["CPU/R0"]) == (1, 0.4, 0.5)


def test_single_characters_are_held_against_the_smaller_roof(cell: Cell) -> None:
    figures = measure_single_characters(cell.server, cell.bundle, cell.null_address, WINDOWS)

    assert figures["chars_per_message"] == 1
    assert figures["ratio"] == figures["served"] / min(figures["r1"], figures["rt"])
    assert figures["load_cores"] >= 0


def test_a_crowd_is_held_against_the_time_before(cell: Cell) -> None:
    figures = measure_crowd(cell.server, WINDOWS)

    assert figures["ratio"] == figures["while_joining_s"] / figures["before_s"]
    for when in ("before", "while_joining"):
        assert min(figures[f"{when}_s"], figures[f"{when}_chunk_s"]) > 0
        assert figures[f"{when}_load_cores"] > 0

from collections.abc import Iterator

import pytest

from bench.flood import Plan, run
from tests.support.alphabet import LETTERS, write_bundle
from tests.support.serving import serving
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.server import Server

ENDLESS = 60_000


@pytest.fixture(scope="module")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_bundle(tmp_path_factory.mktemp("flood") / "alphabet"))


@pytest.fixture
def server(alphabet: Bundle) -> Iterator[Server]:
    with serving(alphabet, max_streams=4, max_rows=2, credit=8) as server:
        yield server


def test_what_is_refused_is_told_from_what_is_served(server: Server) -> None:
    report = run(Plan(server.address, rate=2000, warm_up_s=0.1, seconds=0.5, text=LETTERS))

    assert report.completed > 0
    assert report.refused > 0
    assert 500 < report.offered_per_s < 4000
    assert 0 < report.refusal_p50_s <= report.refusal_p99_s <= report.refusal_max_s
    assert 0 < report.load_turn_max_s < 1
    assert report.faults == []


def test_a_closed_loop_within_the_limit_meets_no_refusal(server: Server) -> None:
    report = run(Plan(server.address, streams=4, warm_up_s=0.1, seconds=0.3, text=LETTERS))

    assert report.completed > 0
    assert report.goodput > 0
    assert (report.refused, report.faults) == (0, [])


def test_calls_that_are_broken_off_are_no_faults(server: Server) -> None:
    endless = Plan(server.address, streams=4, length=ENDLESS, warm_up_s=0.0, seconds=0.2, text=LETTERS, hangs_up=True)
    report = run(endless)

    assert (report.completed, report.refused, report.faults) == (0, 0, [])
    assert report.goodput > 0

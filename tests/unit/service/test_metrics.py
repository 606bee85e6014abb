"""What the metrics say that no call brings about."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from unrolled_service.engine import Engine
from unrolled_service.metrics import BUNDLE_FAILURES, Metrics
from unrolled_service.models.bundle import load_bundle
from unrolled_service.settings import Settings


@pytest.fixture
def engines(tmp_path: Path) -> list[Engine]:
    bundle = load_bundle(write_bundle(tmp_path / "alphabet"))
    return [Engine([bundle], Settings()) for _ in range(2)]


def test_a_server_drains_while_any_of_its_engines_does(engines: list[Engine]) -> None:
    registry = Metrics(engines).registry
    assert registry.get_sample_value("unrolled_draining") == 0
    engines[1].is_draining = True
    assert registry.get_sample_value("unrolled_draining") == 1


def test_bundles_that_were_not_taken_are_counted_by_reason(engines: list[Engine]) -> None:
    metrics = Metrics(engines)

    def read() -> list[float | None]:
        name = "unrolled_bundle_load_failures_total"
        return [metrics.registry.get_sample_value(name, {"reason": reason}) for reason in BUNDLE_FAILURES]

    assert read() == [0, 0]
    metrics.count_bundle_failure("golden")
    assert read() == [1, 0]
    bundle = engines[0].lane("").bundle
    metrics.count_passed_over(bundle)
    assert read() == [1, 0]
    metrics.count_passed_over(replace(bundle, passed_over=("int8",)))
    assert read() == [2, 0]

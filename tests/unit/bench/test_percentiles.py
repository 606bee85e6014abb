import math

import pytest

from bench.percentiles import percentile, weighted_percentile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.25, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_a_percentile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert percentile([4, 2, 3, 1], share) == expected


def test_a_value_counts_as_often_as_its_weight() -> None:
    values = [(5.0, 1), (1.0, 98), (9.0, 1)]

    assert weighted_percentile(values, 0.5) == 1.0
    assert weighted_percentile(values, 0.99) == 5.0
    assert weighted_percentile(values, 1.0) == 9.0


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))

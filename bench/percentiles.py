"""Percentiles, plain and weighted, without NumPy: the load generator should start fast."""

from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of the values do not exceed; NaN of none."""
    return weighted_percentile(((value, 1) for value in values), share)


def weighted_percentile(values: Iterable[tuple[float, int]], share: float) -> float:
    """Return the same of values that stand for several each: pairs of value and count."""
    ordered = sorted(values)
    wanted, passed = share * sum(count for _, count in ordered), 0
    for value, count in ordered:
        passed += count
        if passed >= wanted:
            return value
    return float("nan")

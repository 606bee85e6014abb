"""What happened between two scrapes: rates of counters, quantiles of histograms."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from unrolled_client.cli.scrape import Scrape


class Interval:
    """The time between two scrapes of one server.

    A counter that went back was reset by a restart of the server; what it has now is then what it grew by.

    Args:
        before, after: in this order.

    Attributes:
        seconds: between them.
    """

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self._before, self._after = before, after
        self.seconds = max(after.at_s - before.at_s, 1e-9)

    def increase(self, name: str, **labels: str) -> float | None:
        """Return by how much counters of a name have grown, or None if there is none."""
        after = self._after.total(name, **labels)
        if after is None:
            return None
        grown = after - (self._before.total(name, **labels) or 0.0)
        return grown if grown >= 0 else after

    def rate(self, name: str, **labels: str) -> float | None:
        """Return their growth in a second."""
        grown = self.increase(name, **labels)
        return None if grown is None else grown / self.seconds

    def rates(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the growth in a second by the value of one label, without what did not grow."""
        grown = ((each, self.rate(name, **{label: each}, **labels)) for each in self._after.by(name, label, **labels))
        return {each: rate for each, rate in grown if rate}

    def mean(self, name: str, **labels: str) -> float | None:
        """Return the mean of what a histogram has taken in, or None if that is nothing."""
        count, total = self.increase(f"{name}_count", **labels), self.increase(f"{name}_sum", **labels)
        return total / count if count and total is not None else None

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """Return the quantile at a share (0 to 1) of what a histogram has taken in, or None if that is nothing."""
        bounds = sorted((float(bound), bound) for bound in self._after.by(f"{name}_bucket", "le", **labels))
        counts = {bound: self.increase(f"{name}_bucket", le=text, **labels) or 0.0 for bound, text in bounds}
        return find_quantile(share, counts)


def find_quantile(share: float, counts: Mapping[float, float]) -> float | None:
    """Return a quantile by straight lines between the bounds of buckets, as Prometheus' ``histogram_quantile`` does.

    Args:
        share: 0 to 1.
        counts: observations up to each bound, ascending; the last bound is infinite.

    Returns:
        None without observations; the highest finite bound for what is above that.
    """
    total = counts.get(math.inf, 0.0)
    if not total:
        return None
    rank = share * total
    for (low, below), (bound, count) in pairwise([(0.0, 0.0), *counts.items()]):
        if count >= rank and count > below:
            inside = max(rank - below, 0.0) / (count - below)
            return low if math.isinf(bound) else min(low + (bound - low) * inside, bound)
    return None


def draw_spark(values: Sequence[float], width: int) -> str:
    """Return the newest values as a line of blocks that begins at 0, one character each, ``width`` at most."""
    blocks = "▁▂▃▄▅▆▇█"
    shown = values[-width:] if width > 0 else ()
    highest = max(shown, default=0.0)
    return "".join(blocks[round((len(blocks) - 1) * each / highest)] if highest else blocks[0] for each in shown)

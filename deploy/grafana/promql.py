"""The few shapes of expression that the charts are made of, for the replicas that are chosen on the dashboard."""

CHOSEN = 'instance=~"$instance"'
WINDOW = "$__rate_interval"


def select(metric: str, matchers: str = "") -> str:
    """Return the selector of a metric on the chosen replicas; ``matchers`` are further ones, between commas."""
    return f"{metric}{{{', '.join(filter(None, (matchers, CHOSEN)))}}}"


def total(metric: str, *, by: str = "", matchers: str = "") -> str:
    """Return the sum of a gauge over the chosen replicas, for each value of the labels ``by``."""
    return f"{_sum(by)}({select(metric, matchers)})"


def rate(metric: str, *, by: str = "", matchers: str = "") -> str:
    """Return how much a counter grows a second, over the chosen replicas, for each value of the labels ``by``."""
    return f"{_sum(by)}(rate({select(metric, matchers)}[{WINDOW}]))"


def mean(histogram: str, *, by: str = "") -> str:
    """Return the mean of what a histogram observed."""
    return f"{rate(f'{histogram}_sum', by=by)} / {rate(f'{histogram}_count', by=by)}"


def quantile(share: float, histogram: str, *, by: str = "") -> str:
    """Return the value that a share of a histogram's observations did not exceed, to the precision of its buckets."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', by=labels)})"


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"

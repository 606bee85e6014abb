"""What a server's operators' pages say at one moment. Knows HTTP and the text format, not what a metric means."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
_LIMIT_S = 5.0
_LIMIT_BYTES = 8 << 20


class ScrapeFailed(Exception):
    """The pages cannot be read. The message says why."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one moment.

    Attributes:
        at_s: ``time.monotonic`` of it.
        readiness: what /readyz says.
        samples: by the sample's name, each with its labels.
    """

    at_s: float
    readiness: str
    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    def select(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Yield the samples of a name that have these labels."""
        return (each for each in self.samples.get(name, ()) if labels.items() <= each[0].items())

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of samples, or None if there is none."""
        values = [value for _, value in self.select(name, **labels)]
        return sum(values) if values else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of samples by the value of one label."""
        sums: dict[str, float] = {}
        for found, value in self.select(name, **labels):
            sums[found.get(label, "")] = sums.get(found.get(label, ""), 0.0) + value
        return sums


def read_scrape(url: str) -> Scrape:
    """Read the pages below an address.

    Args:
        url: ``http://host:port`` or ``https://host:port``, without a path of its own.

    Raises:
        ScrapeFailed
    """
    page = _read(url, "/metrics")
    samples: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                samples.setdefault(each.name, []).append((each.labels, each.value))
    except (ValueError, IndexError, KeyError) as error:
        raise ScrapeFailed("what answers there has no metrics") from error
    if not any(name.startswith("unrolled_") for name in samples):
        raise ScrapeFailed("what answers there is no unrolled server")
    readiness = _read(url, "/readyz").strip()
    return Scrape(time.monotonic(), readiness, {name: tuple(found) for name, found in samples.items()})


def _read(url: str, path: str) -> str:
    try:
        parts = urlsplit(url)
        kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
        if kind is None or not parts.hostname:
            raise ScrapeFailed("the address is not http://HOST:PORT")
        connection = kind(parts.hostname, parts.port, timeout=_LIMIT_S)
        try:
            connection.request("GET", parts.path.rstrip("/") + path)
            content = connection.getresponse().read(_LIMIT_BYTES)
        finally:
            connection.close()
        return str(content.decode())
    except OSError as error:
        raise ScrapeFailed(error.strerror or str(error) or type(error).__name__) from error
    except (HTTPException, ValueError) as error:
        raise ScrapeFailed(f"what answers there is no unrolled server ({type(error).__name__})") from error

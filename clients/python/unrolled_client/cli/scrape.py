"""What a server's operators' pages say at one moment. Knows HTTP and the text format, not what a metric means."""

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from unrolled_client.credentials import Token, headers_of

Labels = Mapping[str, str]
_LIMIT_S = 5.0
_LIMIT_BYTES = 8 << 20


class ScrapeFailed(Exception):
    """The pages cannot be read. The message says why."""


class ScrapeRefused(ScrapeFailed):
    """Somebody answers, but shows no page. The message is the status with its name.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} {responses.get(status, '')}".rstrip())
        self.status = status


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


def read_scrape(url: str, context: ssl.SSLContext | None = None, token: Token | None = None) -> Scrape:
    """Read the pages below an address.

    Args:
        url: ``http://host:port`` or ``https://host:port``, without a path of its own.
        context: how to talk TLS to an address of https; None trusts the certificates of this machine.
        token: bearer token to show; None shows none.

    Raises:
        ScrapeFailed
    """
    status, page = _read(url, "/metrics", context, token)
    if status != HTTPStatus.OK:
        raise ScrapeRefused(status)
    samples: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                samples.setdefault(each.name, []).append((each.labels, each.value))
    except (ValueError, IndexError, KeyError) as error:
        raise ScrapeFailed("what answers there has no metrics") from error
    if not any(name.startswith("unrolled_") for name in samples):
        raise ScrapeFailed("what answers there is no unrolled server")
    status, readiness = _read(url, "/readyz", context, token)
    if status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
        raise ScrapeRefused(status)
    return Scrape(time.monotonic(), readiness.strip(), {name: tuple(found) for name, found in samples.items()})


def _read(url: str, path: str, context: ssl.SSLContext | None, token: Token | None) -> tuple[int, str]:
    """Return the status and the text of a page."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ScrapeFailed("the address is not http://HOST:PORT")
        connection = (
            HTTPSConnection(parts.hostname, parts.port, timeout=_LIMIT_S, context=context)
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname, parts.port, timeout=_LIMIT_S)
        )
        try:
            connection.request("GET", parts.path.rstrip("/") + path, headers=dict(headers_of(token)))
            answer = connection.getresponse()
            return answer.status, answer.read(_LIMIT_BYTES).decode()
        finally:
            connection.close()
    except OSError as error:
        raise ScrapeFailed(error.strerror or str(error) or type(error).__name__) from error
    except (HTTPException, ValueError) as error:
        raise ScrapeFailed(f"what answers there is no unrolled server ({type(error).__name__})") from error

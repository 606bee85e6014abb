"""`unrolled top`: what a server does now, as a table that stays up to date."""

import ssl
import time
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.live import Live

from unrolled_client.cli import options
from unrolled_client.cli.board import View, lay_out
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.interval import Interval
from unrolled_client.cli.place import Place
from unrolled_client.cli.scrape import Scrape, ScrapeFailed, ScrapeRefused, read_scrape
from unrolled_client.credentials import Token, check_privacy, resolve_token

DEFAULT_URL = "http://127.0.0.1:9464"
_RECENT_S = 10.0
_HISTORY = 120
_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: "name the file of a token with --token, or set UNROLLED_TOKEN",
        HTTPStatus.FORBIDDEN: "ask the server's operator for a token with the scope metrics",
    }
)


class Watch:
    """Scrapes a server again and again, and remembers what the next frame needs.

    Args:
        url: where its pages are.
        context: how to talk TLS, for an address of https; None trusts the certificates of this machine.
        token: bearer token to show.

    Raises:
        ScrapeFailed: the first scrape failed; later ones leave the last frame with the fault.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None = None, token: Token | None = None) -> None:
        self._url, self._context, self._token = url, context, token
        self._scrapes: deque[Scrape] = deque([read_scrape(url, context, token)])
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._last = Interval(self._scrapes[0], self._scrapes[0])

    def look(self) -> View:
        """Scrape once more."""
        fault = ""
        try:
            self._take(read_scrape(self._url, self._context, self._token))
        except ScrapeFailed as error:
            fault = str(error)
        recent = Interval(self._scrapes[0], self._scrapes[-1])
        return View(self._url, self._scrapes[-1], self._last, recent, tuple(self._history), fault)

    def _take(self, scrape: Scrape) -> None:
        self._last = Interval(self._scrapes[-1], scrape)
        self._scrapes.append(scrape)
        while scrape.at_s - self._scrapes[1].at_s >= _RECENT_S:
            self._scrapes.popleft()
        self._history.append(self._last.rate("unrolled_tokens_total", phase="generated") or 0.0)


@click.command()
@options.placed(
    click.option(
        "--url",
        "server",
        metavar="URL",
        default=DEFAULT_URL,
        show_default=True,
        help="The server's --metrics-listen; begins with https:// where it talks TLS.",
    )
)
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option("--once", is_flag=True, help="Print one frame, of one interval, and exit.")
def top(server: Place, interval: float, once: bool) -> None:
    """Show what a server does, until ^C."""
    console = Console()
    watch = _watch(server)
    if once:
        time.sleep(interval)
        console.print(lay_out(watch.look(), console.width))
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(lay_out(watch.look(), console.width), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:
        return


def _watch(server: Place) -> Watch:
    """Look at a server for the first time.

    Raises:
        Failure: it cannot be looked at, or not with what is shown to it.
    """
    url = server.target
    try:
        token = resolve_token(server.token)
        if urlsplit(url).scheme == "http":
            if server.tls:
                raise ValueError(f"{url} is clear text; with TLS the address begins with https://")
            check_privacy(urlsplit(url).netloc, token, None)
        return Watch(url, server.tls.context() if server.tls else None, token)
    except ScrapeRefused as error:
        raise Failure(
            f"{url} answers {error}; {_ADVICE.get(error.status, '--url is the metrics address of a server')}"
        ) from error
    except ScrapeFailed as error:
        raise Failure(f"no server answers at {url}: {error}; --url is its metrics address") from error
    except ValueError as error:
        raise Failure(str(error)) from error

"""`unrolled top`: what a server does now, as a table that stays up to date."""

import time
from collections import deque

import click
from rich.console import Console
from rich.live import Live

from unrolled_client.cli.board import View, lay_out
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.interval import Interval
from unrolled_client.cli.scrape import Scrape, ScrapeFailed, read_scrape

DEFAULT_URL = "http://127.0.0.1:9464"
_RECENT_S = 10.0
_HISTORY = 120


class Watch:
    """Scrapes a server again and again, and remembers what the next frame needs.

    Args:
        url: where its pages are.

    Raises:
        ScrapeFailed: the first scrape failed; later ones leave the last frame with the fault.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._scrapes: deque[Scrape] = deque([read_scrape(url)])
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._last = Interval(self._scrapes[0], self._scrapes[0])

    def look(self) -> View:
        """Scrape once more."""
        fault = ""
        try:
            self._take(read_scrape(self._url))
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
@click.option("--url", metavar="URL", default=DEFAULT_URL, show_default=True, help="The server's --metrics-listen.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option("--once", is_flag=True, help="Print one frame, of one interval, and exit.")
def top(url: str, interval: float, once: bool) -> None:
    """Show what a server does, until ^C."""
    console = Console()
    try:
        watch = Watch(url)
    except ScrapeFailed as error:
        raise Failure(f"no server answers at {url}: {error}; --url is its metrics address") from error
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

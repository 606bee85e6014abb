import io
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from unrolled_client.cli import top as program
from unrolled_client.cli.board import View, lay_out
from unrolled_client.cli.interval import Interval, draw_spark, find_quantile
from unrolled_client.cli.scrape import Scrape, ScrapeFailed, ScrapeRefused, read_scrape
from unrolled_client.cli.top import Watch, top

BOUNDS = (0.001, 0.01, 0.1, 1.0)
PAGE = """
# TYPE unrolled_build info
unrolled_build_info{version="1.2.3"} 1
# TYPE unrolled_model_info gauge
unrolled_model_info{model="poems[int8]",sha256="0123456789abcdef",precision="int8"} 1
# TYPE unrolled_tokens counter
unrolled_tokens_total{model="poems[int8]",phase="generated"} %(tokens)d
unrolled_tokens_total{model="poems[int8]",phase="prompt"} 7
# TYPE unrolled_streams_active gauge
unrolled_streams_active 211
# TYPE unrolled_streams_waiting gauge
unrolled_streams_waiting 433
# TYPE unrolled_sessions gauge
unrolled_sessions{tier="resident"} 655
unrolled_sessions{tier="packed"} 877
# TYPE unrolled_rejected counter
unrolled_rejected_total{reason="QUEUE_FULL"} %(tokens)d
unrolled_rejected_total{reason="DRAINING"} 5
# TYPE unrolled_time_to_first_token_seconds histogram
unrolled_time_to_first_token_seconds_bucket{le="0.002"} %(tokens)d
unrolled_time_to_first_token_seconds_bucket{le="0.004"} %(tokens)d
unrolled_time_to_first_token_seconds_bucket{le="+Inf"} %(tokens)d
unrolled_time_to_first_token_seconds_sum 1
unrolled_time_to_first_token_seconds_count %(tokens)d
# TYPE unrolled_inter_token_latency_seconds histogram
unrolled_inter_token_latency_seconds_bucket{le="0.01"} 0
unrolled_inter_token_latency_seconds_bucket{le="0.03"} %(tokens)d
unrolled_inter_token_latency_seconds_bucket{le="+Inf"} %(tokens)d
unrolled_inter_token_latency_seconds_sum %(tokens)de-2
unrolled_inter_token_latency_seconds_count %(tokens)d
# TYPE unrolled_slice_rows histogram
unrolled_slice_rows_bucket{le="+Inf"} %(tokens)de1
unrolled_slice_rows_sum %(tokens)de2
unrolled_slice_rows_count %(tokens)de1
# TYPE unrolled_slice_steps histogram
unrolled_slice_steps_bucket{le="+Inf"} %(tokens)de1
unrolled_slice_steps_sum %(tokens)de3
unrolled_slice_steps_count %(tokens)de1
# TYPE unrolled_slice_duration_seconds histogram
unrolled_slice_duration_seconds_bucket{stage="run",le="+Inf"} %(tokens)de1
unrolled_slice_duration_seconds_sum{stage="run"} %(tokens)de-4
unrolled_slice_duration_seconds_count{stage="run"} %(tokens)de1
"""


@contextmanager
def pages(metrics: list[str], *, readiness: int = 200, status: int = 200) -> Iterator[str]:
    """Serve pages of metrics with a status, one after the other, the last one for ever; readiness has its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = "ready\n" if readiness == 200 else "not ready\n"
            if self.path == "/metrics":
                page = metrics.pop(0) if len(metrics) > 1 else metrics[0]
            self.send_response(status if self.path == "/metrics" else readiness)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(at_s: float, **values: float) -> Scrape:
    return Scrape(at_s, "ready", {name: (({}, value),) for name, value in values.items()})


@given(st.lists(st.floats(1e-6, 5.0), min_size=1, max_size=50), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_in_the_bucket_of_the_observation_that_it_stands_for(seen: list[float], share: float) -> None:
    bounds = (*BOUNDS, math.inf)
    counts = {bound: float(sum(value <= bound for value in seen)) for bound in bounds}
    exact = sorted(seen)[max(math.ceil(share * len(seen)) - 1, 0)]

    found = find_quantile(share, counts)

    low, high = next((low, high) for low, high in zip((0.0, *bounds), bounds, strict=False) if exact <= high)
    assert found is not None
    assert low <= found <= (low if math.isinf(high) else high)


@given(st.lists(st.integers(0, 100), min_size=5, max_size=5).filter(any))
def test_quantiles_do_not_fall(sizes: list[int]) -> None:
    counts = dict(zip((*BOUNDS, math.inf), map(float, accumulate(sizes)), strict=True))
    found = [find_quantile(i / 20, counts) or 0.0 for i in range(21)]
    assert found == sorted(found)


def test_a_quantile_lies_on_the_line_between_bounds() -> None:
    counts = {0.1: 10.0, 0.2: 30.0, math.inf: 30.0}
    assert find_quantile(0.5, counts) == pytest.approx(0.125)
    assert find_quantile(1 / 6, counts) == pytest.approx(0.05)
    assert find_quantile(0.5, {0.1: 0.0, math.inf: 0.0}) is None
    assert find_quantile(0.5, {}) is None


def test_a_rate_is_of_the_time_between_and_a_restart_begins_at_zero() -> None:
    assert Interval(scrape(1, a=10), scrape(3, a=16)).rate("a") == 3
    assert Interval(scrape(1, a=10), scrape(3, a=4)).rate("a") == 2
    assert Interval(scrape(1), scrape(3, a=4)).rate("a") == 2
    assert Interval(scrape(1, a=10), scrape(3)).rate("a") is None
    assert Interval(scrape(1, a_sum=1, a_count=1), scrape(2, a_sum=4, a_count=3)).mean("a") == 1.5
    assert Interval(scrape(1, a_sum=1, a_count=1), scrape(2, a_sum=1, a_count=1)).mean("a") is None


def test_a_spark_begins_at_zero_and_shows_the_newest() -> None:
    assert draw_spark([0, 1, 2, 4, 7], 4) == "▂▃▅█"
    assert draw_spark([0, 0], 5) == "▁▁"
    assert draw_spark([], 5) == ""
    assert draw_spark([1], 0) == ""


def render(width: int, *metrics: str, fault: str = "") -> str:
    with pages([*metrics]) as url:
        before, after = read_scrape(url), read_scrape(url)
    before, after = (Scrape(at_s, each.readiness, each.samples) for at_s, each in ((1.0, before), (3.0, after)))
    between = Interval(before, after)
    stream = io.StringIO()
    Console(file=stream, width=width).print(lay_out(View("http://h:1", after, between, between, [1, 2], fault), width))
    return stream.getvalue()


def read_row(frame: str, begin: str) -> list[str]:
    """Return the words of the one row of a panel that begins so."""
    rows = [part.strip() for line in frame.splitlines() for part in line.split("│")]
    (row,) = (row for row in rows if re.match(rf"{re.escape(begin)}(\s|$)", row))
    return row.split()


@pytest.mark.parametrize("width", [80, 109, 110, 140])
def test_a_frame_fits_its_width_and_shows_what_was_measured(width: int) -> None:
    frame = render(width, PAGE % {"tokens": 100}, PAGE % {"tokens": 3100})

    assert max(map(len, frame.splitlines())) == width
    assert frame.splitlines()[0].split() == ["unrolled", "1.2.3", "http://h:1", "ready"]
    for row in (
        "poems[int8] int8 0123456789ab 1,500 0",
        "tokens/s 1,500 ▅█",
        "streams 211 active 433 waiting",
        "first token 1 ms 1.98 ms",
        "inter-token 20 ms 29.8 ms 10 ms 1,500",
        "15,000 slices/s of 10.0 rows and 100.0 steps (K)",
        "run 10 µs 15.0% ██",
        "resident 655",
        "packed 877",
        "1,500.0/s QUEUE_FULL",
    ):
        words = row.split()
        assert read_row(frame, "first token" if words[0] == "first" else words[0])[: len(words)] == words
    assert "DRAINING" not in frame


def test_a_frame_of_a_server_that_did_nothing_has_no_numbers_made_up() -> None:
    frame = render(80, "unrolled_tokens_total 0\n", "unrolled_tokens_total 0\n")
    assert "nan" not in frame
    assert "inf" not in frame


def test_a_fault_is_shown_with_the_last_frame() -> None:
    frame = render(80, PAGE % {"tokens": 1}, PAGE % {"tokens": 1}, fault="Connection refused")
    assert "no metrics: Connection refused" in frame
    assert "poems[int8]" in frame


def test_a_watch_survives_a_server_that_goes_away() -> None:
    with pages([PAGE % {"tokens": 1}]) as url:
        watch = Watch(url)
        assert not watch.look().fault
    view = watch.look()
    assert view.fault == "Connection refused"
    assert view.now.readiness == "ready"


def test_a_watch_remembers_no_more_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def read(*_: object) -> Scrape:
        nonlocal now
        now += 1.0
        return scrape(now, unrolled_x_total=now)

    monkeypatch.setattr(program, "read_scrape", read)
    watch = Watch("http://h:1")
    for _ in range(500):
        view = watch.look()
    assert view.recent.seconds == 10
    assert len(view.history) == 120
    assert len(watch._scrapes) == 11


def test_once_prints_one_frame() -> None:
    with pages([PAGE % {"tokens": 1}]) as url:
        result = CliRunner().invoke(top, ["--once", "--interval", "0.1", "--url", url])
    assert result.exit_code == 0
    assert result.output.count("unrolled 1.2.3") == 1


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("<html>", "what answers there has no metrics"),
        ("python_info 1\n", "what answers there is no unrolled server"),
        ("", "what answers there is no unrolled server"),
    ],
)
def test_what_is_no_server_is_refused_in_one_line(page: str, why: str) -> None:
    with pages([page]) as url:
        result = CliRunner().invoke(top, ["--once", "--url", url])
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: no server answers at {url}: {why}; --url is its metrics address\n",
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "401 Unauthorized; name the file of a token with --token, or set UNROLLED_TOKEN"),
        (403, "403 Forbidden; ask the server's operator for a token with the scope metrics"),
        (404, "404 Not Found; --url is the metrics address of a server"),
    ],
)
def test_a_page_that_is_refused_is_said_with_its_status(status: int, words: str) -> None:
    with pages([PAGE % {"tokens": 1}], status=status) as url:
        result = CliRunner().invoke(top, ["--once", "--url", url])
    assert (result.exit_code, result.stderr) == (1, f"error: {url} answers {words}\n")


def test_a_server_that_is_not_ready_is_watched() -> None:
    with pages([PAGE % {"tokens": 1}], readiness=503) as url:
        assert read_scrape(url).readiness == "not ready"
    with pages([PAGE % {"tokens": 1}], readiness=404) as url, pytest.raises(ScrapeRefused, match="404 Not Found"):
        read_scrape(url)


def test_certificates_are_for_https() -> None:
    result = CliRunner().invoke(top, ["--once", "--tls"])
    words = "http://127.0.0.1:9464 is clear text; with TLS the address begins with https://"
    assert (result.exit_code, result.stderr) == (1, f"error: {words}\n")


@pytest.mark.parametrize("url", ["", "h:1", "file:///etc/passwd", "http://", "http://h:x"])
def test_an_address_is_one_of_http(url: str) -> None:
    with pytest.raises(ScrapeFailed):
        read_scrape(url)

"""The frame of ``unrolled top``: what it shows of two scrapes, and how that is laid out at a width."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from unrolled_client.cli.interval import Interval, draw_spark
from unrolled_client.cli.scrape import Scrape

_WIDE = 110
_SHA256_SHOWN = 12
_SPARK = 30
_BAR = 12
_REASONS_SHOWN = 5
_NOTHING = "-"
_LATENCIES = {
    "first token": "unrolled_time_to_first_token_seconds",
    "inter-token": "unrolled_inter_token_latency_seconds",
    "queue wait": "unrolled_queue_wait_seconds",
    "whole stream": "unrolled_stream_duration_seconds",
    "event loop lag": "unrolled_event_loop_lag_seconds",
}


@dataclass(frozen=True, slots=True)
class View:
    """What a frame is made of.

    Attributes:
        url: where the server's pages are.
        now: the newest scrape.
        last: since the scrape before, for rates.
        recent: since a scrape some seconds ago, for quantiles.
        history: tokens a second, oldest first.
        fault: why the newest scrape is not of now, or nothing.
    """

    url: str
    now: Scrape
    last: Interval
    recent: Interval
    history: Sequence[float]
    fault: str = ""


def lay_out(view: View, width: int) -> RenderableType:
    """Return a frame: its parts side by side where there is room, else one below the other."""
    first = Group(_models(view), _throughput(view), _latency(view))
    if width < _WIDE:
        return Group(_head(view), first, _slices(view), _halve(_sessions(view), _refusals(view)))
    return Group(_head(view), _halve(first, Group(_slices(view), _halve(_sessions(view), _refusals(view)))))


def _head(view: View) -> RenderableType:
    (version,) = [labels["version"] for labels, _ in view.now.select("unrolled_build_info")][:1] or [""]
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    if view.fault:
        state = Text(f"no metrics: {view.fault}", "bold red")
    else:
        state = Text(view.now.readiness, "green" if view.now.readiness == "ready" else "bold yellow")
    head.add_row(Text.assemble((f"unrolled {version}", "bold"), f"  {view.url}"), state)
    return head


def _models(view: View) -> Panel:
    table = _table("model", "form", "sha256", ">tokens/s", ">prompt/s")
    for labels, _ in view.now.select("unrolled_model_info"):
        model = labels["model"]
        rates = (view.last.rate("unrolled_tokens_total", model=model, phase=each) for each in ("generated", "prompt"))
        table.add_row(Text(model, "bold"), labels["precision"], labels["sha256"][:_SHA256_SHOWN], *map(_count, rates))
    return _panel("models", table)


def _throughput(view: View) -> Panel:
    table = _pairs()
    rate = view.last.rate("unrolled_tokens_total", phase="generated")
    table.add_row(
        "tokens/s", Text.assemble((f"{_count(rate):>9}  ", "bold"), (draw_spark(view.history, _SPARK), "cyan"))
    )
    active, waiting = (_count(view.now.total(f"unrolled_streams_{each}")) for each in ("active", "waiting"))
    table.add_row("streams", Text.assemble((f"{active:>9}", "bold"), " active  ", (waiting, "bold"), " waiting"))
    ended = view.last.rates("unrolled_streams_total", "finish")
    table.add_row("ended/s", _listed(ended) if ended else Text(f"{_NOTHING:>9}"))
    return _panel("throughput", table)


def _latency(view: View) -> Panel:
    table = _table("", ">p50", ">p99", ">mean", ">count/s")
    for label, name in _LATENCIES.items():
        numbers = (view.recent.quantile(0.5, name), view.recent.quantile(0.99, name), view.recent.mean(name))
        table.add_row(label, *map(_time, numbers), _count(view.recent.rate(f"{name}_count")))
    return _panel(f"latency, last {view.recent.seconds:.0f} s", table)


def _slices(view: View) -> Panel:
    """Rows, steps, and where the time goes; ``busy`` is the share of one thread."""
    rows, steps = (view.recent.mean(f"unrolled_slice_{each}") for each in ("rows", "steps"))
    numbers = (_count(view.recent.rate("unrolled_slice_rows_count")), _number(rows), _number(steps))
    words = ("slices/s of", "rows and", "steps (K)")
    line = Text(" ").join(
        Text.assemble((number, "bold"), f" {word}") for number, word in zip(numbers, words, strict=True)
    )
    table = _table("stage", ">mean", ">busy", "")
    name = "unrolled_slice_duration_seconds"
    for stage in view.now.by(f"{name}_count", "stage"):
        busy = view.recent.rate(f"{name}_sum", stage=stage) or 0.0
        bar = Text("█" * round(_BAR * min(busy, 1.0)), "cyan")
        table.add_row(stage, _time(view.recent.mean(name, stage=stage)), f"{busy:.1%}", bar)
    return _panel(f"slices, last {view.recent.seconds:.0f} s", Group(line, table))


def _sessions(view: View) -> Panel:
    table = _pairs()
    for tier, count in view.now.by("unrolled_sessions", "tier").items():
        table.add_row(tier, f"{_count(count):>9}")
    used, slots = view.now.total("unrolled_slots_in_use"), view.now.total("unrolled_slots")
    table.add_row("slots", f"{_count(used):>9} of {_count(slots)}")
    table.add_row("states", f"{_bytes(view.now.total('unrolled_state_bytes')):>9}")
    evicted = view.last.rates("unrolled_session_evictions_total", "reason")
    table.add_row("evicted/s", _listed(evicted) if evicted else Text(f"{_NOTHING:>9}"))
    return _panel("sessions", table)


def _refusals(view: View) -> Panel:
    table = _pairs()
    refused = view.recent.rates("unrolled_rejected_total", "reason")
    for reason, rate in sorted(refused.items(), key=lambda each: -each[1])[:_REASONS_SHOWN]:
        table.add_row(Text(f"{_number(rate):>9}/s", "bold red" if reason == "INTERNAL" else "yellow"), reason)
    if not refused:
        table.add_row(Text(f"{_NOTHING:>9}"), "")
    return _panel(f"refused, last {view.recent.seconds:.0f} s", table)


def _halve(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1))


def _table(*headers: str) -> Table:
    """Return a table; a header that begins with ``>`` is of numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header.lstrip(">"), justify="right" if header.startswith(">") else "left", no_wrap=True)
    return table


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    return table


def _listed(rates: dict[str, float]) -> Text:
    words = [Text.assemble((_number(rate), "bold"), f" {name}") for name, rate in rates.items()]
    return Text(" ").append(Text(" ").join(words))


def _count(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds:.3g} s"


def _bytes(value: float | None) -> str:
    if value is None:
        return _NOTHING
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"

"""The tables."""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from bench.journal import Report
from bench.row import Row

_RATES = (
    "R0",
    "R1",
    "RT",
    "served",
    "served/R0",
    "served/R1",
    "engine/R1",
    "chars/message",
    "CPU s/1000",
    "CPU/R0",
    "load",
)
_LATENCIES = ("first p50", "first p99", "token p50", "token p99", "chunk p50", "chunk p99", "first/step")


def make_tables(rows: Sequence[Row]) -> Iterable[Table]:
    """Return the table of rates and the table of latencies; an open loop has a line of its own, without roofs."""
    rates = _make_table("Characters per second", _RATES)
    latencies = _make_table("Latencies, ms", _LATENCIES)
    for row in rows:
        rates.add_row(*_head(row), "closed", *_rates(row.served, _roofs(row)))
        latencies.add_row(*_head(row), "closed", *_latencies(row.served), f"{row.ratios['first/step']:.1f}")
        if row.open_loop:
            rates.add_row(*_head(row), "open", *_rates(row.open_loop, {}))
            latencies.add_row(*_head(row), "open", *_latencies(row.open_loop), "")
    return rates, latencies


def _make_table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("LSTM", "precision", "streams", "loop", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _head(row: Row) -> tuple[str, str, str]:
    return row.cell, row.precision, str(row.streams)


def _rates(report: Report, roofs: Mapping[str, str]) -> list[str]:
    found = {
        **roofs,
        "served": f"{report.chars_per_s:,.0f}",
        "chars/message": f"{report.chars_per_message:.1f}",
        "CPU s/1000": f"{report.server_cpu_s_per_1000_chars:.4f}",
        "load": f"{report.load_cores:.2f}",
    }
    return [found.get(column, "") for column in _RATES]


def _roofs(row: Row) -> dict[str, str]:
    rates = {"R0": f"{row.r0:,.0f}", "R1": f"{row.r1:,.0f}", "RT": f"{row.rt:,.0f}"}
    return rates | {name: f"{ratio:.2f}" for name, ratio in row.ratios.items()}


def _latencies(report: Report) -> list[str]:
    seconds = (
        report.first_p50_s,
        report.first_p99_s,
        report.inter_token_p50_s,
        report.inter_token_p99_s,
        report.inter_chunk_p50_s,
        report.inter_chunk_p99_s,
    )
    return [f"{1000 * each:.2f}" for each in seconds]

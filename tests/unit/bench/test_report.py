from dataclasses import replace
from io import StringIO

from rich.console import Console
from rich.table import Table

from bench.journal import Report
from bench.report import make_tables
from bench.row import Row

CLOSED = Report(5000.0, 10.0, 0.1, 0.2, 0.01, 0.02, 0.03, 0.04, 0.35, 0.017, 5, [])
OPEN = replace(CLOSED, chars_per_s=3500.0, chars_per_message=7.0, load_cores=0.25, first_p99_s=0.15)
RATIOS = {"served/R0": 1.25, "served/R1": 0.5, "served/RT": 0.1, "engine/R1": 0.9, "CPU/R0": 0.75, "first/step": 31.0}
ROW = Row("2x256", "fp32", 64, 4000.0, 10_000.0, 50_000.0, 9000.0, 0.02, CLOSED, OPEN, RATIOS)
ALONE = replace(
    ROW, streams=1, engine=None, open_loop=None, ratios={k: v for k, v in RATIOS.items() if k != "engine/R1"}
)


def _lines(table: Table) -> list[dict[str, str]]:
    """Return the lines of a printed table by its columns, without the empty fields."""
    output = StringIO()
    Console(file=output, width=200).print(table)
    _, _, head, _, *lines, _ = output.getvalue().splitlines()
    names = [name.strip() for name in head.strip("┃").split("┃")]
    fields = [[field.strip() for field in line.strip("│").split("│")] for line in lines]
    return [{n: f for n, f in zip(names, each, strict=True) if f} for each in fields]


def test_rates_stand_in_their_lines() -> None:
    rates, _ = make_tables([ROW, ALONE])

    head = {"LSTM": "2x256", "precision": "fp32"}
    roofs = {"R0": "4,000", "R1": "10,000", "RT": "50,000", "served/R0": "1.25", "served/R1": "0.50", "CPU/R0": "0.75"}
    served = {"served": "5,000", "chars/message": "10.0", "CPU s/1000": "0.0170", "load": "0.35"}
    offered = {"served": "3,500", "chars/message": "7.0", "CPU s/1000": "0.0170", "load": "0.25"}
    assert _lines(rates) == [
        head | {"streams": "64", "loop": "closed"} | roofs | served | {"engine/R1": "0.90"},
        head | {"streams": "64", "loop": "open"} | offered,
        head | {"streams": "1", "loop": "closed"} | roofs | served,
    ]


def test_latencies_stand_in_theirs() -> None:
    _, latencies = make_tables([ROW, ALONE])

    head = {"LSTM": "2x256", "precision": "fp32"}
    times = {"first p50": "100.00", "first p99": "200.00", "token p50": "10.00", "token p99": "20.00"}
    times |= {"chunk p50": "30.00", "chunk p99": "40.00"}
    assert _lines(latencies) == [
        head | {"streams": "64", "loop": "closed"} | times | {"first/step": "31.0"},
        head | {"streams": "64", "loop": "open"} | times | {"first p99": "150.00"},
        head | {"streams": "1", "loop": "closed"} | times | {"first/step": "31.0"},
    ]

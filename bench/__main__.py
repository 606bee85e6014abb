"""``make bench``: the table, and build/bench.json."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cells import make_bundle
from bench.roofs import program_loop, stock_loop
from bench.served import measure

LAYERS, HIDDEN = 2, 256
STREAMS = (1, 16, 64, 256)
_ROOF_S, _LOAD_S = 3.0, 8.0
_OUTPUT = Path("build/bench.json")


def main() -> None:
    """Measure roofs and server in turn, so that a change of the machine's speed hits both."""
    console = Console()
    bundle = make_bundle(LAYERS, HIDDEN)
    table = Table("streams", title=f"LSTM {LAYERS}x{HIDDEN}, fp32, characters per second")
    for column in (
        "R0",
        "R1",
        "served",
        "served/R0",
        "served/R1",
        "chars/message",
        "CPU s/1000",
        "first p50",
        "first p99",
        "load",
    ):
        table.add_column(column, justify="right")
    results = []
    with console.status("measuring") as status:
        for streams in STREAMS:
            status.update(f"{streams} streams")
            r0 = stock_loop(LAYERS, HIDDEN, streams, _ROOF_S)
            r1 = program_loop(bundle, streams, _ROOF_S)
            served = measure(bundle, streams, _LOAD_S)
            results.append({"streams": streams, "r0": r0, "r1": r1, **asdict(served)})
            table.add_row(
                str(streams),
                f"{r0:,.0f}",
                f"{r1:,.0f}",
                f"{served.chars_per_s:,.0f}",
                f"{served.chars_per_s / r0:.2f}",
                f"{served.chars_per_s / r1:.2f}",
                f"{served.chars_per_message:.1f}",
                f"{served.cpu_s_per_1000_chars:.4f}",
                f"{1000 * served.first_p50_s:.1f} ms",
                f"{1000 * served.first_p99_s:.1f} ms",
                f"{served.load_cores:.2f}",
            )
    console.print(table)
    _OUTPUT.parent.mkdir(exist_ok=True)
    _OUTPUT.write_text(json.dumps(results, indent=2))
    console.print(f"written to {_OUTPUT}")


if __name__ == "__main__":
    main()

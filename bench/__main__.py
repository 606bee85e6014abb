"""``make bench``: the tables, the targets, and build/bench.json. ``--quick`` measures less, for development."""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.cells import PRECISIONS, Shape, make_bundle
from bench.processes import running_null_server
from bench.report import make_tables
from bench.roofs import make_stock_loop
from bench.row import Cell, Row, Windows, measure_row
from bench.scenarios import SESSIONS, measure_crowd, measure_idle, measure_many, measure_single_characters
from bench.targets import compare
from tests.support.server import running_server
from unrolled_service.models.bundle import load_bundle

OUTPUT = Path("build/bench.json")
_REFERENCE = Shape(2, 256)
_WIDTH = 200


@dataclass(frozen=True)
class Scope:
    """What to measure."""

    shapes: Sequence[Shape]
    streams: Sequence[int]
    windows: Windows


FULL = Scope((Shape(1, 128), _REFERENCE, Shape(2, 512)), (1, 16, 64, 256), Windows(3, 0.6, 0.5, 2.0, 0.8))
QUICK = Scope((_REFERENCE,), (1, 64), Windows(1, 0.5, 0.5, 1.0, 0.5))

Figures = dict[str, dict[str, float]]
Step = Callable[[str], None]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure against roofs of the same run.")
    parser.add_argument("--quick", action="store_true", help="one cell, short windows, no repetitions")
    scope = QUICK if parser.parse_args().quick else FULL
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    started = time.time()
    with _progress(scope, console) as step:
        rows, scenarios = measure(scope, step)
    for table in make_tables(rows):
        console.print(table)
    for name, figures in scenarios.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    targets = list(compare(rows, scenarios))
    results = {
        "seconds": time.time() - started,
        "cores": os.cpu_count(),
        "rows": [asdict(row) for row in rows],
        "scenarios": scenarios,
        "targets": [{**asdict(target), "is_met": target.is_met} for target in targets],
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(results, indent=2))
    print(f"written to {OUTPUT} after {results['seconds']:.0f} s")
    for target in targets:
        print(target)


def measure(scope: Scope, step: Step) -> tuple[list[Row], Figures]:
    """Measure everything, one thing at a time."""
    rows: list[Row] = []
    scenarios: Figures = {}
    with running_null_server() as null_address:
        for shape in scope.shapes:
            step(f"{shape}: bundle")
            folder, stock_loop = make_bundle(shape), make_stock_loop(shape)
            for precision in PRECISIONS:
                bundle = load_bundle(folder, precision)
                with running_server(folder, precision=precision, engine_threads=1) as server:
                    cell = Cell(shape, precision, bundle, stock_loop, server, null_address)
                    for streams in scope.streams:
                        step(f"{shape} {precision}: {streams} streams")
                        rows.append(measure_row(cell, streams, scope.windows))
                    if shape == _REFERENCE:
                        step(f"{shape} {precision}: a crowd joins")
                        scenarios[f"crowd-{precision}"] = measure_crowd(server, scope.windows)
                        step(f"{shape} {precision}: one character a message")
                        single = measure_single_characters(server, bundle, null_address, scope.windows)
                        scenarios[f"single-characters-{precision}"] = single
            if shape == _REFERENCE:
                step(f"{shape}: idle sessions")
                scenarios["idle-fp32"] = measure_idle(folder, "fp32", scope.windows)
                step(f"{shape}: many sessions")
                scenarios |= {f"many{number}-fp32": measure_many(number) for number in SESSIONS[:-1]}
                scenarios["many-fp32"] = measure_many(SESSIONS[-1])
    return rows, scenarios


@contextmanager
def _progress(scope: Scope, console: Console) -> Iterator[Step]:
    """Show what is measured; nothing is drawn in between, which would cost CPU."""
    total = len(scope.shapes) * (1 + len(PRECISIONS) * len(scope.streams)) + 2 * len(PRECISIONS) + 2
    columns = TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def step(description: str) -> None:
            nonlocal begun
            progress.update(task, description=description, completed=begun, refresh=True)
            if not console.is_terminal:
                print(description, flush=True)
            begun += 1

        yield step


if __name__ == "__main__":
    main()

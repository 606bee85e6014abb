"""``python -m deploy.scaling`` prints what docs/scaling.md tells; with ``--drill`` three real replicas beside it."""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.scaling.capacity import MEASURED, SHARED, Load, plan
from deploy.scaling.drill import drill
from deploy.scaling.simulation import Simulation, Traffic

REPLICAS = (3, 10, 100, 1000)
STREAMS = (100, 1_000, 10_000, 100_000)
SESSIONS_EACH = 200
TALK_S, THINK_S = 10.0, 30.0
SECONDS, LOSS_S, CALM_S, PEAK_S = 90, 60, 20, 3
_DRILL_SESSIONS = (10, 5_000)
_WIDTH = 110


def main() -> None:
    """Print the tables."""
    about = "What replicas, store and balancer do."
    parser = argparse.ArgumentParser(prog="python -m deploy.scaling", description=about)
    parser.add_argument("--drill", metavar="SESSIONS", type=_sessions, help="measure three real replicas beside it")
    sessions = parser.parse_args().drill
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if sessions:
        console.print(_compare(sessions))
    else:
        console.print(_simulate(), _capacities())


def _sessions(word: str) -> int:
    least, most = _DRILL_SESSIONS
    if not (word.isascii() and word.isdigit() and least <= int(word) <= most):
        raise argparse.ArgumentTypeError(f"SESSIONS is from {least} to {most}")
    return int(word)


def _simulate() -> Table:
    columns = ("replicas", "busiest/mean", "streams cut", "moved", "of others", "store operations/s", "at the loss")
    title = f"{SESSIONS_EACH} sessions a replica, streams of {TALK_S:g} s, pauses of {THINK_S:g} s; one replica is lost"
    return _table(title, columns, [_lose_one(replicas) for replicas in REPLICAS])


def _lose_one(replicas: int) -> list[str]:
    """Return what comes of losing one of so many."""
    addresses = [f"10.0.{i // 250}.{i % 250 + 1}:50051" for i in range(replicas)]
    lost, ids = addresses[0], [f"{i:032x}" for i in range(SESSIONS_EACH * replicas)]
    simulation = Simulation(addresses, {lost: (LOSS_S, SECONDS)})
    outcome = simulation.run(Traffic(len(ids), TALK_S, THINK_S), SECONDS, ids=ids)
    before, after = simulation.table(0), simulation.table(LOSS_S)
    moved = [before.place(each) for each in ids if before.place(each) != after.place(each)]
    calm = sum(outcome.store_operations[second] for second in range(LOSS_S - CALM_S, LOSS_S)) / CALM_S
    peak = max(outcome.store_operations[second] for second in range(LOSS_S, LOSS_S + PEAK_S))
    return [
        f"{replicas:,}",
        f"{max(Counter(map(before.place, ids)).values()) / SESSIONS_EACH:.2f}",
        f"{outcome.cut:,}",
        f"{len(moved) / len(ids):.1%}",
        f"{sum(each != lost for each in moved) / len(ids):.2%}",
        f"{calm:,.0f}",
        f"{peak:,.0f}",
    ]


def _capacities() -> Table:
    columns = ("streams", "replicas", "by", "of one Redis", "of its memory", "threads of Envoy")
    title = "Streams of 50 tokens/s in 10 messages/s; 20 sessions a stream; a stream takes 10 s"
    return _table(title, columns, [_provide(streams) for streams in STREAMS])


def _provide(streams: int) -> list[str]:
    """Return what so many streams take."""
    needed = plan(Load(streams, 50, 10, sessions=20 * streams, turns_per_s=streams / TALK_S), MEASURED, SHARED)
    shares = (f"{needed.store_share:.0%}", f"{needed.store_memory_share:.0%}", f"{needed.front_threads:.1f}")
    return [f"{streams:,}", f"{needed.replicas:,}", needed.limit, *shares]


def _compare(sessions: int) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        rounds = drill(Path(folder), sessions)
    rows = []
    for each in rounds:
        streams = ", ".join(f"{name} {each.streams[name]} ({each.computed[name]})" for name in sorted(each.computed))
        store = (f"{each.claims} ({sessions})", f"{each.writes} ({sessions})")
        rows.append([each.name, streams, *store, f"{each.repeated} (0)"])
    columns = ("round", "streams", "claims", "writes", "repeated")
    return _table(f"A turn of each of {sessions} sessions: measured (computed)", columns, rows)


def _table(title: str, columns: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()

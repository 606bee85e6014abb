"""``python -m deploy.cluster``, or ``make cluster``: a cluster on this machine until ^C."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from deploy.cluster.fleet import Fleet
from deploy.cluster.member import Member, MemberFailed
from deploy.cluster.programs import ProgramMissing

MAX_REPLICAS = 16
_LOOK_S = 0.5

console = Console(highlight=False)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.cluster", description=__doc__)
    parser.add_argument("--replicas", type=int, default=3, help="servers, 1 to 16 (default: %(default)s)")
    parser.add_argument("--bundle", type=Path, action="append", help="bundle to serve (default: the shipped one)")
    parser.add_argument("--seconds", type=float, default=None, help="when to stop (default: at ^C)")
    options = parser.parse_args(arguments)
    if not 1 <= options.replicas <= MAX_REPLICAS:
        parser.error(f"--replicas must be from 1 to {MAX_REPLICAS}")
    return options


def main() -> None:
    """Run it."""
    options = parse()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="unrolled-cluster-") as folder:
            _run(Path(folder), options)
    except (ProgramMissing, MemberFailed) as trouble:
        sys.exit(f"cluster: {trouble}")
    except KeyboardInterrupt:
        console.print("stopped")


def _run(folder: Path, options: argparse.Namespace) -> None:
    fleet = Fleet(folder, bundles=options.bundle, replicas=options.replicas, prometheus=True)
    with console.status(f"starting {len(fleet.members)} programs"):
        fleet.start()
    try:
        _show(fleet)
        end_s = None if options.seconds is None else time.monotonic() + options.seconds
        missed: set[str] = set()
        while end_s is None or time.monotonic() < end_s:
            missed = _report(fleet.members, missed)
            time.sleep(_LOOK_S)
    finally:
        console.print("stopping: servers drain, then Envoy, Prometheus, Redis")
        fleet.stop()


def _show(fleet: Fleet) -> None:
    table = Table(box=None, header_style="dim")
    for title in ("program", "listens on", "metrics", "pid"):
        table.add_column(title, no_wrap=True)
    pages = {"envoy": "/stats/prometheus"}
    for member in fleet.members:
        metrics = fleet.metrics.get(member.name)
        page = f"http://{metrics}{pages.get(member.name, '/metrics')}" if metrics else ""
        table.add_row(member.name, member.address, page, str(member.pid))
    console.print(table)
    console.print(f"logs: {fleet.redis.log.parent}/*.log", soft_wrap=True)
    console.print(f"\ntry:  unrolled generate --server {fleet.front} 'ROMEO:' --max-tokens 400", soft_wrap=True)
    console.print(
        f"      kill {fleet.replicas[0].pid}   # one server drains; the others go on with its sessions", soft_wrap=True
    )
    console.print("stop: ^C\n")


def _report(members: Sequence[Member], known: set[str]) -> set[str]:
    """Say which members have ended since the last look; return all that have."""
    ended = {member.name: member for member in members if not member.is_running}
    for name in sorted({*ended} - known):
        console.print(f"{name} has ended; the end of {ended[name].log}:\n{ended[name].read_tail()}", markup=False)
    return {*ended}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

"""``make chaos``: what came of callers, a cluster and faults; the exit status says whether anything was wrong."""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.checker import Verdict
from chaos.faults import Fault
from chaos.run import Plan, run

FOLDER = Path("build/chaos")
_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a run, print what came of it, and return the exit status."""
    plan = parse(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"seed {plan.seed}: {plan.sessions} sessions, {plan.replicas} replicas, {plan.seconds:g} s", flush=True)
    verdict, faults = run(plan, FOLDER, lambda words: print(words, flush=True))
    for line in describe(verdict, faults):
        print(line)
    return int(bool(verdict.violations))


def parse(arguments: Sequence[str] | None) -> Plan:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break a cluster and read what it says.")
    parser.add_argument("--seconds", type=_bounded(float, 5, 3600), default=90, help="5 to 3600 (default: %(default)s)")
    parser.add_argument("--sessions", type=_bounded(int, 1, 1000), default=200, help="1 to 1000 (default: %(default)s)")
    parser.add_argument("--seed", type=_bounded(int, 0, 2**64 - 1), default=1, help="0 to 2^64 - 1 (default: 1)")
    parser.add_argument("--replicas", type=_bounded(int, 1, 9), default=3, help="1 to 9 (default: %(default)s)")
    return Plan(**vars(parser.parse_args(arguments)))


def describe(verdict: Verdict, faults: Sequence[Fault]) -> list[str]:
    """Return what came of a run, in words."""
    shown = [str(violation) for violation in verdict.violations[:_SHOWN]]
    left = len(verdict.violations) - len(shown)
    return [
        f"faults: {_count(Counter(fault.kind for fault in faults))}",
        f"calls: {_count(verdict.calls)}",
        f"errors told to callers: {_count(verdict.errors) or 'none'}",
        f"characters: {verdict.characters}",
        f"streams resumed: {verdict.resumed}",
        f"longest stall: {verdict.longest_stall_s:.1f} s",
        f"sessions elsewhere or gone because the store was away: {verdict.unstored}",
        f"wrong characters: {verdict.wrong_characters}",
        f"violations: {len(verdict.violations)}",
        *shown,
        *([f"and {left} more"] if left else []),
    ]


def _count(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))


def _bounded(kind: type[int] | type[float], low: int, high: int) -> Callable[[str], float]:
    def parse_number(text: str) -> float:
        number = kind(text)
        if math.isnan(number) or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be {low} to {high}")
        return number

    return parse_number


if __name__ == "__main__":
    sys.exit(main())

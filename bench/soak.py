"""``python -m bench.soak``: a server under calls of every shape, 20 minutes by default.

At least three of ten calls are cancelled, some readers are slow, sessions expire, a whole process of callers is frozen
now and then, and a bundle is replaced again and again. Prints a line for each claim, writes build/soak.json, and
draws what was seen. It fails where a claim does not hold.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

from bench.asks import RELOADED, SHIPPED, Items, make_asks, record
from bench.mixture import Plan, Report
from bench.samples import Sample, Sampler, draw
from bench.targets import Target
from tests.support.lstm import write_lstm_bundle
from tests.support.server import ROOT, ServerProcess, running_server, wait_until
from unrolled_client import AdminClient
from unrolled_client.evaluation.folder import find_bundle

OUTPUT = Path("build/soak.json")
STEADY, FROZEN = 32, 8
VERSIONS = {"old": 24, "new": 40}  # units of the layers of the bundle that is replaced
_RELOAD_S = 7.0
_FREEZE_EVERY_S, _FROZEN_SHARE = 60.0, 0.75  # a server gives up on a frozen caller after 30 s
_SAMPLES = 1200
_REST_S, _START_S, _END_S = 60.0, 60.0, 60.0
_LEAK_BYTES = 90  # of grpc.aio, for each cancelled call
_POOLED = 6  # threads that asyncio and gRPC add to their pools as they are needed
_SLACK_BYTES = 6 << 20
_CANCELLED_SHARE = 0.3


@dataclass(frozen=True)
class Soak:
    """What was seen.

    Attributes:
        samples: of the server, over time.
        report: what became of the calls.
        reloads: how often the bundle was replaced.
        freezes: how often callers stood still.
        before, after: the server without load.
    """

    samples: list[Sample]
    report: Report
    reloads: int
    freezes: int
    before: Sample
    after: Sample

    def judge(self) -> Iterator[Target]:
        """Yield what was done, and the claims. Memory may grow in the first half: much is new there."""
        ends = self.report.ends
        yield Target("cancelled-share", ends["cancelled"] / max(1, ends.total()), _CANCELLED_SHARE)
        for name in ("slow", "talked", "expired"):
            yield Target(name, ends[name], 1)
        yield Target("reloads", self.reloads, 1)
        yield Target("freezes", self.freezes, 1)
        memory = [sample.memory_bytes for sample in self.samples]
        half, quarter = len(memory) // 2, max(1, len(memory) // 4)
        level = max(memory[half:-quarter], default=memory[-1])
        leak = _LEAK_BYTES * ends["cancelled"]
        growth, allowed = max(memory[-quarter:]) - level, _SLACK_BYTES + leak
        yield Target("memory-growth-mib", growth / 2**20, round(allowed / 2**20, 1), is_upper=True)
        for name in ("active", "waiting", "sessions", "slots"):
            yield Target(f"{name}-at-the-end", getattr(self.after, name), 0, is_upper=True)
        yield Target("descriptors-at-the-end", self.after.descriptors, self.before.descriptors, is_upper=True)
        yield Target("threads-at-the-end", self.after.threads, self.before.threads + _POOLED, is_upper=True)
        yield Target("wrong", len(self.report.wrong), 0, is_upper=True)
        yield Target("faults", len(self.report.faults), 0, is_upper=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak a server, print and write; return 0 if every claim holds."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Load a server with calls of every shape and see what is left of it."
    )
    parser.add_argument("--seconds", type=float, default=1200, help="how long (default: %(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("build/soak.png"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # as in the image
    with tempfile.TemporaryDirectory(prefix="unrolled-soak-") as folder:
        soak = run(Path(folder), options.seconds)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(soak, default=vars, indent=2))
    calls, targets = soak.report.ends.total(), list(soak.judge())
    title = f"{options.seconds / 60:g} minutes, {calls:,} calls, {soak.reloads} bundles replaced"
    options.picture.write_bytes(draw(soak.samples, title))
    print(f"{title}: {dict(soak.report.ends.most_common())}")
    for line in (*soak.report.wrong, *soak.report.faults, *targets):
        print(line)
    return 0 if all(target.is_met for target in targets) else 1


def run(folder: Path, seconds: float) -> Soak:
    """Load a server for so long.

    Args:
        folder: for bundles and answers.
        seconds: of the load.
    """
    for version, units in VERSIONS.items():
        write_lstm_bundle(folder / version, hidden=units)
    wanted = folder / "wanted.json"
    served = (*map(find_bundle, SHIPPED), folder / "old")
    addresses = {"admin_listen": "127.0.0.1:0", "bundles_folder": str(folder)}
    with (
        running_server(*served, engine_threads=1, precision="fp32", **addresses) as server,
        AdminClient(server.admin_address) as admin,
    ):
        wanted.write_text(json.dumps(_record(server, admin)))
        sampler = Sampler(server, max(0.2, seconds / _SAMPLES))
        before = sampler.look()
        plans = (
            Plan(server.address, str(wanted), STEADY, seconds, seed=1),
            Plan(server.address, str(wanted), FROZEN, seconds, seed=2, may_break=True),
        )
        with (
            _loading(plans[0]) as steady,
            _loading(plans[1]) as unsteady,
            sampler.sampling(),
            _reloading(admin) as loads,
        ):
            freezes = _freeze_now_and_then(unsteady, steady, min(_FREEZE_EVERY_S, seconds / 2))
            report = _read_report(steady) + _read_report(unsteady)
        with suppress(TimeoutError):
            wait_until(lambda: _is_at_rest(sampler.look(), before), "nothing is left", limit_s=_REST_S)
        return Soak(sampler.samples, report, len(loads), freezes, before, sampler.look())


def _record(server: ServerProcess, admin: AdminClient) -> list[list[Items]]:
    """Return what each call may give: one answer, or one of each version of the bundle that is replaced."""
    asks = make_asks()
    answers = [[answer] for answer in asyncio.run(record(server.address, asks))]
    admin.load("new", timeout=_START_S)
    of_reloaded = [(ask, known) for ask, known in zip(asks, answers, strict=True) if ask.model == RELOADED]
    again = asyncio.run(record(server.address, [ask for ask, _ in of_reloaded]))
    for (_, known), answer in zip(of_reloaded, again, strict=True):
        known.append(answer)
    return answers


def _is_at_rest(now: Sample, before: Sample) -> bool:
    return not (now.active or now.waiting or now.sessions) and now.descriptors <= before.descriptors


@contextmanager
def _loading(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """Make a load in a process of its own; it is gone when the block ends."""
    command = [sys.executable, "-m", "bench.mixture", json.dumps(asdict(plan))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _reloading(admin: AdminClient) -> Iterator[list[str]]:
    """Replace a bundle again and again until the block ends; the versions that were loaded, as they come."""
    is_over, loaded = threading.Event(), list[str]()

    def load() -> None:
        for version in cycle(VERSIONS):
            if is_over.wait(_RELOAD_S):
                return
            admin.load(version, timeout=_START_S)
            loaded.append(version)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield loaded
    finally:
        is_over.set()
        thread.join()


def _freeze_now_and_then(process: subprocess.Popen[str], other: subprocess.Popen[str], every_s: float) -> int:
    """Stop a process for three quarters of each period until another one ends, then let it go on; return how often."""
    started, freezes, is_frozen = time.monotonic(), 0, False
    while other.poll() is None:
        was_frozen, phase = is_frozen, (time.monotonic() - started) / every_s % 1
        is_frozen = phase >= 1 - _FROZEN_SHARE
        process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)
        freezes += is_frozen and not was_frozen
        with suppress(subprocess.TimeoutExpired):
            other.wait(every_s / 60)
    process.send_signal(signal.SIGCONT)
    return freezes


def _read_report(process: subprocess.Popen[str]) -> Report:
    """Return what a process of callers says.

    Raises:
        RuntimeError: it failed.
    """
    output, _ = process.communicate(timeout=_END_S)
    if process.returncode:
        raise RuntimeError(f"callers ended with status {process.returncode}")
    told = json.loads(output)
    return Report(Counter(told["ends"]), told["wrong"], told["faults"])


if __name__ == "__main__":
    sys.exit(main())

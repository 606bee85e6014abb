"""``python -m bench.overload``: five times the load that a server can take, callers that all hang up, a greedy tenant.

Prints a line for each measure and for each target, and writes everything to build/overload.json. ``--quick`` takes a
minute.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.cells import Shape, make_bundle
from bench.flood import Plan, Report
from bench.load import LENGTH
from bench.percentiles import percentile
from bench.processes import run_module
from bench.targets import Target
from tests.support.access import write_tokens
from tests.support.server import ServerProcess, running_server
from unrolled.v1.model_pb2 import ListModelsRequest
from unrolled.v1.model_pb2_grpc import ModelServiceStub

OUTPUT = Path("build/overload.json")
SHAPE, ROWS, STREAMS = Shape(2, 256), 256, 1024
TIMES, CALLERS, GREEDY, MODEST = 5, 1000, 1000, 64
ENDLESS = 60_000
TENANTS = ("greedy", "modest")
_HANG_UPS, _LONG, _CALLING_S = 5, 10_000, 3.0
_PROBE_INTERVAL_S = 0.1
_MEMORY_INTERVAL_S = 0.5


@dataclass
class Watch:
    """What is seen of a server while it is loaded."""

    health_s: list[float] = field(default_factory=list)
    models_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description="Measure a server that is overloaded."
    )
    parser.add_argument("--quick", action="store_true", help="windows of 15 s instead of a minute")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "int8"))
    options = parser.parse_args()
    seconds = 15.0 if options.quick else 60.0
    folder, precision = make_bundle(SHAPE), options.precision
    targets, results = [], {"precision": precision, "seconds": seconds}
    settings = {"engine_threads": 1, "precision": precision, "max_rows": ROWS, "max_streams": STREAMS}
    admitting = {"max_streams": 2 * STREAMS, "max_waiting_tokens": 2 * GREEDY * ENDLESS}  # nobody is refused
    with running_server(folder, **settings) as server:
        flood, found = measure_flood(server, seconds)
        results |= flood | {"hang_up_health_max_s": measure_hang_up(server)}
        targets += found
    with tempfile.TemporaryDirectory() as tokens:
        file = write_tokens(Path(tokens, "tokens"), {token_of(tenant): f"{tenant} generate" for tenant in TENANTS})
        with running_server(folder, **settings | admitting | {"auth_tokens": str(file)}) as server:
            for name, figures in measure_greedy(server, seconds / 4).items():
                results[name] = figures
                targets.append(Target(f"greedy/{name}", figures["ratio"], 2.0, is_upper=True))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(results | {"targets": [asdict(each) for each in targets]}, indent=2))
    for target in targets:
        print(target)


def token_of(tenant: str) -> str:
    """Return the token that a tenant calls with."""
    return f"unr_{tenant}"


def measure_flood(server: ServerProcess, seconds: float) -> tuple[dict[str, Any], list[Target]]:
    """Offer what a server can take, then five times of it."""
    full = flood(Plan(server.address, streams=ROWS, seconds=min(seconds, 10)))
    capacity = full.goodput / LENGTH
    once = flood(Plan(server.address, rate=capacity, seconds=min(seconds, 20)))
    watch = Watch()
    with watching(server, watch):
        more = flood(Plan(server.address, rate=TIMES * capacity, warm_up_s=5, seconds=seconds))
    third = len(watch.memory_bytes) // 3
    growth = max(watch.memory_bytes[-third:]) / max(watch.memory_bytes[third : 2 * third])
    for name, report in (("closed loop, full batch", full), ("1x", once), (f"{TIMES}x", more)):
        print(f"{name}: {tell(report)}", flush=True)
    figures: dict[str, Any] = {
        "full": asdict(full),
        "once": asdict(once),
        "more": asdict(more),
        "health_p99_s": percentile(watch.health_s, 0.99),
        "health_max_s": max(watch.health_s),
        "models_p99_s": percentile(watch.models_s, 0.99),
        "models_max_s": max(watch.models_s),
        "memory_growth": growth,
    }
    return figures, [
        Target("goodput-5x/1x", more.goodput / once.goodput, 0.9),
        Target("refusal-p99-ms", 1000 * more.refusal_p99_s, 50, is_upper=True),
        Target("refusal-max-ms", 1000 * more.refusal_max_s, 50, is_upper=True),
        Target("token-p99-5x/full-batch", more.token_p99_s / full.token_p99_s, 1.5, is_upper=True),
        Target("health-p99-ms", 1000 * figures["health_p99_s"], 50, is_upper=True),
        Target("health-max-ms", 1000 * figures["health_max_s"], 50, is_upper=True),
        Target("models-p99-ms", 1000 * figures["models_p99_s"], 50, is_upper=True),
        Target("memory-growth", growth, 1.02, is_upper=True),
        Target("faults", len(more.faults) + len(once.faults), 0, is_upper=True),
    ]


def measure_hang_up(server: ServerProcess) -> list[float]:
    """Let 1,000 callers go away in one moment, several times; the slowest answer about health beside each."""
    slowest = []
    plan = Plan(server.address, streams=CALLERS, length=_LONG, warm_up_s=0, seconds=_CALLING_S, hangs_up=True)
    for _ in range(_HANG_UPS):
        watch = Watch()
        with watching(server, watch, interval_s=0.0):
            flood(plan)
            time.sleep(1)
        slowest.append(max(watch.health_s))
    told = ", ".join(f"{1000 * each:.0f}" for each in slowest)
    print(f"{CALLERS} callers hang up: health at the slowest {told} ms", flush=True)
    return slowest


def measure_greedy(server: ServerProcess, seconds: float) -> dict[str, dict[str, float]]:
    """Compare a tenant's first tokens with and without another one that has 1,000 endless streams."""
    plans = {
        f"{MODEST}-streams": Plan(server.address, streams=MODEST, seconds=seconds, token=token_of("modest")),
        "10-calls-a-second": Plan(server.address, rate=10, seconds=seconds, token=token_of("modest")),
    }
    alone = {name: flood(plan) for name, plan in plans.items()}
    greedy = Plan(server.address, streams=GREEDY, length=ENDLESS, seconds=10_000, token=token_of("greedy"))
    with flooding(greedy):
        time.sleep(5)
        beside = {name: flood(plan) for name, plan in plans.items()}
    found = {}
    for name, report in alone.items():
        print(f"{name} alone: {tell(report)}\n{name} beside a greedy tenant: {tell(beside[name])}", flush=True)
        found[name] = {
            "alone_p99_s": report.first_p99_s,
            "beside_p99_s": beside[name].first_p99_s,
            "ratio": beside[name].first_p99_s / report.first_p99_s,
        }
    return found


def flood(plan: Plan) -> Report:
    """Make a load in a process of its own."""
    return Report(**run_module("bench.flood", json.dumps(asdict(plan))))


@contextmanager
def flooding(plan: Plan) -> Iterator[None]:
    """Make a load in a process of its own until the block ends."""
    with subprocess.Popen([sys.executable, "-m", "bench.flood", json.dumps(asdict(plan))]) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def watching(server: ServerProcess, watch: Watch, interval_s: float = _PROBE_INTERVAL_S) -> Iterator[None]:
    """Ask a server for its health and its models until the block ends, and look at its memory."""
    is_over = threading.Event()

    def probe() -> None:
        process, looked_at = psutil.Process(server.process.pid), 0.0
        with grpc.insecure_channel(server.address) as channel:
            health, models = health_pb2_grpc.HealthStub(channel), ModelServiceStub(channel)
            health.Check(health_pb2.HealthCheckRequest())
            while not is_over.wait(interval_s):
                watch.health_s.append(_time(lambda: health.Check(health_pb2.HealthCheckRequest())))
                watch.models_s.append(_time(lambda: models.ListModels(ListModelsRequest())))
                if time.monotonic() >= looked_at + _MEMORY_INTERVAL_S:
                    looked_at = time.monotonic()
                    watch.memory_bytes.append(process.memory_info().rss)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def tell(report: Report) -> str:
    """Return a report as a line."""
    return (
        f"{report.offered_per_s:.0f} calls/s offered, {report.goodput:,.0f} chars/s, {report.completed} complete,"
        f" {report.refused} refused in p50 {1000 * report.refusal_p50_s:.1f} p99 {1000 * report.refusal_p99_s:.1f}"
        f" max {1000 * report.refusal_max_s:.1f} ms; first p50 {1000 * report.first_p50_s:.0f}"
        f" p99 {1000 * report.first_p99_s:.0f} ms, token p50 {1000 * report.token_p50_s:.2f}"
        f" p99 {1000 * report.token_p99_s:.2f} ms; load {report.load_cores:.2f} cores,"
        f" turns up to {1000 * report.load_turn_max_s:.0f} ms; faults {report.faults}"
    )


def _time(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

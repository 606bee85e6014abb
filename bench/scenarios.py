"""The measures that are not a row of the table: single characters, a crowd that joins, idle sessions."""

import time
from functools import partial
from pathlib import Path
from statistics import median

import psutil

from bench.load import Plan
from bench.processes import run_load, run_module
from bench.roofs import program_loop
from bench.row import Windows, run_null_load
from bench.sessions import open_sessions
from tests.support.server import ServerProcess, running_server
from unrolled_service.models.bundle import Bundle

RUNNING = 64
IDLE_SESSIONS = 10_000
SESSIONS = (1_000, 10_000, 100_000)
_ACTIVE = 16
_IDLE_S = 5.0
_SETTLING_S = 1.0


def measure_single_characters(
    server: ServerProcess, bundle: Bundle, null_address: str, windows: Windows
) -> dict[str, float]:
    """Ask for each character by itself, on one stream; the roof is the smaller of R1 and RT."""
    turns: list[dict[str, float]] = []
    plan = Plan(server.address, 1, warm_up_s=windows.warm_up_s, seconds=windows.load_s, max_chunk_tokens=1)
    for _ in range(windows.repetitions):
        before = program_loop(bundle, 1, windows.roof_s, steps=1)
        served = run_load(plan)
        r1 = before.mean(program_loop(bundle, 1, windows.roof_s, steps=1)).steps_per_s
        rt = run_null_load(null_address, 1, 1.0, windows)
        turns.append(
            {
                "r1": r1,
                "rt": rt,
                "served": served.chars_per_s,
                "chars_per_message": served.chars_per_message,
                "load_cores": served.load_cores,
                "ratio": served.chars_per_s / min(r1, rt),
            }
        )
    return _medians(turns)


def measure_crowd(server: ServerProcess, windows: Windows) -> dict[str, float]:
    """Let 100 streams with long prompts join 64 that run."""
    words = [str(each) for each in (server.address, RUNNING, 2 * windows.warm_up_s, windows.load_s)]
    turns = [run_module("bench.crowd", *words) for _ in range(windows.repetitions)]
    return _medians([{**turn, "ratio": turn["while_joining_s"] / turn["before_s"]} for turn in turns])


def measure_idle(folder: Path, precision: str, windows: Windows) -> dict[str, float]:
    """Open 10,000 sessions on one of two servers; compare them with 16 streams in turns."""
    serve = partial(running_server, folder, precision=precision, engine_threads=1, max_sessions=2 * IDLE_SESSIONS)
    with serve() as empty, serve() as full:
        open_sessions(full.address, IDLE_SESSIONS)
        time.sleep(_SETTLING_S)
        process = psutil.Process(full.process.pid)
        used, started = sum(process.cpu_times()[:2]), time.perf_counter()
        time.sleep(_IDLE_S)
        cores = (sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - started)
        ratios = []
        for _ in range(windows.repetitions):
            rates = [
                run_load(Plan(each.address, _ACTIVE, warm_up_s=windows.warm_up_s, seconds=windows.load_s)).chars_per_s
                for each in (empty, full)
            ]
            ratios.append(rates[1] / rates[0])
    return {"cores": cores, "effect": 1 - median(ratios)}


def measure_many(sessions: int) -> dict[str, float]:
    """Make so many sessions inside an engine."""
    figures: dict[str, float] = run_module("bench.many", str(sessions))
    return figures


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(turn[name] for turn in turns) for name in turns[0]}

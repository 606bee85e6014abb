"""How much running streams suffer while a crowd with long prompts joins.

``python -m bench.crowd TARGET STREAMS WARM_UP_S BEFORE_S`` prints the 99th percentiles of their inter-token and
inter-chunk latencies, before the crowd comes and until each newcomer has its first character, and this process's share
of a core meanwhile, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable

from bench.journal import Journal
from bench.load import LENGTH, PROMPT_LENGTH
from bench.traffic import Traffic

NEWCOMERS = 100
_LONG_PROMPT = 1000
_ENDLESS = 65_000
_LIMIT_S = 60.0
_NAP_S = 0.0005
_TURN_S = 0.01


def run(target: str, streams: int, warm_up_s: float, before_s: float) -> dict[str, float]:
    """Measure once: let streams run for some time, then for so long before the crowd comes.

    Raises:
        TimeoutError: newcomers were not served within a minute.
        RuntimeError: a generation failed, or a running stream ended: it was to outlast the measurement.
    """
    traffic, running, newcomers = Traffic(target, nap_s=_NAP_S), Journal(), Journal(is_open=True)
    try:
        for _ in range(streams):
            traffic.begin(running, prompt_length=PROMPT_LENGTH, length=_ENDLESS, sent=time.perf_counter())
        _turn_until(traffic, _elapsed(warm_up_s))
        before = _measure(traffic, running, _elapsed(before_s))
        for _ in range(NEWCOMERS):
            traffic.begin(newcomers, prompt_length=_LONG_PROMPT, length=LENGTH, sent=time.perf_counter())
        while_joining = _measure(traffic, running, lambda: len(newcomers.firsts_s) == NEWCOMERS)
        _turn_until(traffic, lambda: traffic.completed >= NEWCOMERS)
        if traffic.failed or traffic.running != streams:
            raise RuntimeError("; ".join([*traffic.faults, f"{traffic.running} of {streams} streams still run"]))
    finally:
        traffic.close()
    figures = {"before": before, "while_joining": while_joining}
    return {f"{when}_{name}": figure for when, found in figures.items() for name, figure in found.items()}


def _measure(traffic: Traffic, running: Journal, is_enough: Callable[[], bool]) -> dict[str, float]:
    """Return what the running streams saw meanwhile."""
    running.gaps.clear()
    running.is_open = True
    started, cpu = time.perf_counter(), time.process_time()
    _turn_until(traffic, is_enough)
    load_cores = (time.process_time() - cpu) / (time.perf_counter() - started)
    running.is_open = False
    return {"s": running.inter_token_s(0.99), "chunk_s": running.inter_chunk_s(0.99), "load_cores": load_cores}


def _elapsed(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def _turn_until(traffic: Traffic, is_enough: Callable[[], bool]) -> None:
    is_too_late = _elapsed(_LIMIT_S)
    while not is_enough():
        if traffic.failed:
            return
        if is_too_late():
            raise TimeoutError(f"the crowd was not served within {_LIMIT_S:g} s")
        traffic.turn(_TURN_S)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:]))))

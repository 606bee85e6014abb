"""How much running streams suffer while a crowd with long prompts joins.

``python -m bench.crowd TARGET STREAMS`` prints the 99th percentiles of their inter-token latency, before the crowd
comes and until each newcomer has its first character, as JSON.
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
_WARM_UP_S, _BEFORE_S, _LIMIT_S = 1.0, 2.0, 60.0
_NAP_S = 0.0005
_TURN_S = 0.01


def run(target: str, streams: int) -> dict[str, float]:
    """Measure once.

    Raises:
        TimeoutError: newcomers were not served within a minute.
        RuntimeError: a generation failed, or a running stream ended: it was to outlast the measurement.
    """
    traffic, running, newcomers = Traffic(target, nap_s=_NAP_S), Journal(), Journal(is_open=True)
    try:
        for _ in range(streams):
            traffic.begin(running, prompt_length=PROMPT_LENGTH, length=_ENDLESS, sent=time.perf_counter())
        _turn_until(traffic, _elapsed(_WARM_UP_S))
        running.is_open = True
        _turn_until(traffic, _elapsed(_BEFORE_S))
        before_s = running.inter_token_s(0.99)
        running.gaps.clear()
        for _ in range(NEWCOMERS):
            traffic.begin(newcomers, prompt_length=_LONG_PROMPT, length=LENGTH, sent=time.perf_counter())
        _turn_until(traffic, lambda: len(newcomers.firsts_s) == NEWCOMERS)
        while_joining_s = running.inter_token_s(0.99)
        running.is_open = False
        _turn_until(traffic, lambda: traffic.completed >= NEWCOMERS)
        if traffic.failed or traffic.running != streams:
            raise RuntimeError("; ".join([*traffic.faults, f"{traffic.running} of {streams} streams still run"]))
    finally:
        traffic.close()
    return {"before_s": before_s, "while_joining_s": while_joining_s}


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
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))

"""What many idle sessions cost inside the engine: memory, creation, lookup.

``python -m bench.many SESSIONS`` makes so many in a process of its own, lets each generate a little, and prints figures
as JSON.
"""

import gc
import json
import sys
import time

import numpy as np
import psutil

from bench.cells import Shape, make_bundle
from unrolled_service.engine import Engine
from unrolled_service.models.bundle import load_bundle
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.generation import Generation
from unrolled_service.settings import Settings

_SHAPE = Shape(2, 256)
_TOKENS = 8
_AT_ONCE = 256
_LOOKUPS = 100_000


class _Reader:
    """Takes everything at once."""

    delivered = 0

    def put(self, delivery: Delivery) -> None:
        self.delivered = delivery.position


def run(number: int) -> dict[str, float]:
    """Measure so many sessions of LSTM 2x256, fp32."""
    bundle = load_bundle(make_bundle(_SHAPE), "fp32")
    engine = Engine([bundle], Settings(max_sessions=number, session_memory_mib=10_000, session_ttl_s=86_400.0))
    _generate(engine, [engine.create_session("", seed=0, ttl_s=None).id])
    engine.delete_session(engine.registry.page(0, 1)[0].id)
    before = _resident_bytes()
    started = time.perf_counter()
    ids = [engine.create_session("", seed=None, ttl_s=None).id for _ in range(number)]
    made_s = time.perf_counter() - started
    for first in range(0, number, _AT_ONCE):
        _generate(engine, ids[first : first + _AT_ONCE])
    grown = _resident_bytes() - before
    state_bytes = len(bundle.program.initial) * 4
    started = time.perf_counter()
    for i in range(_LOOKUPS):
        engine.session(ids[i * 7919 % number])
    found_s = (time.perf_counter() - started) / _LOOKUPS
    return {
        "sessions": number,
        "creations_per_s": number / made_s,
        "lookup_us": found_s * 1e6,
        "bytes_per_session": grown / number,
        "memory/raw": grown / (number * state_bytes),
    }


def _generate(engine: Engine, ids: list[str]) -> None:
    """Let each session take a prompt and generate a few tokens."""
    streams = [
        engine.submit("", Generation(np.arange(_TOKENS, dtype=np.int64), _TOKENS, session_id=each), _Reader())
        for each in ids
    ]
    while done := engine.slice():
        for delivery in done.deliveries:
            if isinstance(delivery.sink, _Reader):
                delivery.sink.put(delivery)
    for stream in streams:
        engine.close(stream)


def _resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))

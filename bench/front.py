"""What Envoy costs between callers and a server: ``python -m bench.front`` prints figures as JSON.

The same load goes to one server directly and through Envoy, in turns; and once more through Envoy in small messages, so
that what a call costs and what a message costs can be told apart.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

from bench.cells import Shape, make_bundle
from bench.journal import Report
from bench.load import LENGTH, Plan
from bench.processes import run_load
from deploy.cluster.fleet import Fleet

STREAMS = 64
REPETITIONS = 5
_SECONDS = 2.0
_SMALL = 5


def run() -> dict[str, float]:
    """Measure LSTM 2x256 in int8 at 64 streams."""
    settings = {"precision": "int8"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Fleet(Path(folder), bundles=[make_bundle(Shape(2, 256))], replicas=1, settings=settings) as fleet,
    ):
        server, envoy = fleet.replicas[0], fleet.envoy
        turns = [
            (
                _measure(server.address, server.pid),
                _measure(fleet.front, envoy.pid),
                _measure(fleet.front, envoy.pid, max_chunk_tokens=_SMALL),
            )
            for _ in range(REPETITIONS)
        ]
    costs = [_part(front, small) for _, front, small in turns]
    return {
        "direct_chars_per_s": median(direct.chars_per_s for direct, _, _ in turns),
        "front/direct": median(front.chars_per_s / direct.chars_per_s for direct, front, _ in turns),
        "direct_first_p50_ms": 1000 * median(direct.first_p50_s for direct, _, _ in turns),
        "front_first_p50_ms": 1000 * median(front.first_p50_s for _, front, _ in turns),
        "envoy_us_per_call": 1e6 * median(call for call, _ in costs),
        "envoy_us_per_message": 1e6 * median(message for _, message in costs),
    }


def _measure(address: str, pid: int, *, max_chunk_tokens: int = 0) -> Report:
    return run_load(Plan(address, STREAMS, seconds=_SECONDS, server_pid=pid, max_chunk_tokens=max_chunk_tokens))


def _part(front: Report, small: Report) -> tuple[float, float]:
    """Return the CPU seconds of a call without its messages, and of a message, by two loads of the same length."""
    calls = [each.server_cpu_s_per_1000_chars * LENGTH / 1000 for each in (front, small)]
    messages = [LENGTH / each.chars_per_message for each in (front, small)]
    message_s = (calls[1] - calls[0]) / (messages[1] - messages[0])
    return calls[0] - messages[0] * message_s, message_s


if __name__ == "__main__":
    print(json.dumps(run()))

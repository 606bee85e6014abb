"""One figure of the real server: started, loaded from another process, stopped."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from bench.load import Counts
from tests.support.server import running_server

_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Served:
    """What callers got, and what it cost the server."""

    chars_per_s: float
    chars_per_message: float
    cpu_s_per_1000_chars: float
    first_p50_s: float
    first_p99_s: float
    load_cores: float


def measure(bundle: Path, streams: int, seconds: float) -> Served:
    """Serve a bundle and load it with a closed loop of streams."""
    with running_server(bundle) as server:
        _load(server.address, streams, _WARM_UP_S)
        process = psutil.Process(server.process.pid)
        before = sum(process.cpu_times()[:2])
        counts = _load(server.address, streams, seconds)
        cpu_s = sum(process.cpu_times()[:2]) - before
    first_p50_s, first_p99_s = np.percentile(counts.first_s, [50, 99])
    return Served(
        chars_per_s=counts.characters / counts.elapsed_s,
        chars_per_message=counts.characters / counts.messages,
        cpu_s_per_1000_chars=1000 * cpu_s / counts.characters,
        first_p50_s=float(first_p50_s),
        first_p99_s=float(first_p99_s),
        load_cores=counts.cpu_s / counts.elapsed_s,
    )


def _load(target: str, streams: int, seconds: float) -> Counts:
    command = [sys.executable, "-m", "bench.load", target, str(streams), str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    return Counts(**json.loads(output))

"""The roofs: bare in-process loops, no network, one thread."""

import time
from pathlib import Path

import numpy as np
import onnxruntime

from bench.cells import VOCABULARY, make_stock_cell
from unrolled_service.bundle import load_bundle
from unrolled_service.program import NOT_FORCED, Batch
from unrolled_service.sampling import Sampling

_STEPS = 16


def stock_loop(layers: int, hidden: int, rows: int, seconds: float) -> float:
    """Return characters per second of the stock operator with NumPy sampling (R0)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(make_stock_cell(layers, hidden), options, providers=["CPUExecutionProvider"])
    names = [f"{kind}{layer}" for layer in range(layers) for kind in "hc"]
    outputs = ["logits", *(f"new_{name}" for name in names)]
    states = [np.zeros((1, rows, hidden), np.float32) for _ in names]
    token = np.zeros(rows, np.int64)
    random = np.random.default_rng(0)
    steps, end = 0, time.perf_counter() + seconds
    started = time.perf_counter()
    while time.perf_counter() < end:
        logits, *states = session.run(outputs, {"token": token, **dict(zip(names, states, strict=True))})
        masses = np.exp(logits - logits.max(axis=1, keepdims=True))
        cumulative = masses.cumsum(axis=1)
        drawn = random.random((rows, 1), np.float32) * cumulative[:, -1:]
        token = np.minimum((cumulative <= drawn).sum(axis=1), len(VOCABULARY) - 1)
        steps += 1
    return rows * steps / (time.perf_counter() - started)


def program_loop(bundle_folder: Path, rows: int, seconds: float) -> float:
    """Return characters per second of our program in a bare loop (R1)."""
    bundle = load_bundle(bundle_folder)
    states = [np.zeros((rows, *state.shape), np.float32) for state in bundle.states]
    forced = np.full((_STEPS, rows), NOT_FORCED, np.int64)
    sampling = [Sampling()] * rows
    seed, token = np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64)
    steps, end = 0, time.perf_counter() + seconds
    started = time.perf_counter()
    while time.perf_counter() < end:
        batch = Batch(token, forced, np.full(rows, steps + 1), seed, sampling)
        outcome = bundle.program.run(batch, states)
        states, token = outcome.states, outcome.tokens[-1]
        steps += _STEPS
    return rows * steps / (time.perf_counter() - started)

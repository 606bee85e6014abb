"""The roofs without a network: bare loops in this process, on one thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import onnxruntime

from bench.cells import VOCABULARY, Shape
from bench.load import LENGTH
from bench.stock import make_stock_cell
from unrolled_service.engine import Engine
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.row import Row
from unrolled_service.settings import Settings

STEPS = 16


@dataclass(frozen=True)
class Pace:
    """What a loop made of its time."""

    chars_per_s: float
    cpu_s_per_1000_chars: float

    def mean(self, other: "Pace") -> "Pace":
        """Return what lies between this and another one."""
        return Pace(
            (self.chars_per_s + other.chars_per_s) / 2, (self.cpu_s_per_1000_chars + other.cpu_s_per_1000_chars) / 2
        )


def make_stock_loop(shape: Shape) -> Callable[[int, float], Pace]:
    """Return R0: takes rows and seconds, and runs the stock operator with sampling in NumPy."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    cell = make_stock_cell(shape, len(VOCABULARY))
    session = onnxruntime.InferenceSession(cell, options, providers=["CPUExecutionProvider"])
    names = shape.state_names
    outputs = ["logits", *(f"new_{name}" for name in names)]

    def loop(rows: int, seconds: float) -> Pace:
        states = [np.zeros((1, rows, shape.hidden), np.float32) for _ in names]
        token, random = np.zeros(rows, np.int64), np.random.default_rng(0)

        def step() -> int:
            nonlocal token, states
            logits, *states = session.run(outputs, {"token": token, **dict(zip(names, states, strict=True))})
            masses = np.exp(logits - logits.max(axis=1, keepdims=True))
            cumulative = masses.cumsum(axis=1)
            drawn = random.random((rows, 1), np.float32) * cumulative[:, -1:]
            token = np.minimum((cumulative <= drawn).sum(axis=1), len(VOCABULARY) - 1)
            return rows

        return _pace(step, seconds)

    return loop


def program_loop(bundle: Bundle, rows: int, seconds: float, *, steps: int = STEPS) -> Pace:
    """Run R1: the program alone, with batches of one size, of a bundle that generates tokens."""
    program = bundle.program
    assert isinstance(program, Program)
    state = np.tile(program.initial, (rows, 1))
    forced = np.full((steps, rows), NOT_FORCED, np.int64)
    temperature = np.ones((rows, 1), np.float32)
    seed, token, positions = np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64), count(1, steps)

    def run() -> int:
        nonlocal token, state
        outcome = program.run(Batch(token, forced, np.full(rows, next(positions)), seed, temperature), state)
        token, state = outcome.tokens[-1], outcome.state
        return rows * steps

    return _pace(run, seconds)


class _NullSink:
    """A reader that takes everything at once."""

    delivered = 0

    def put(self, delivery: Delivery) -> None:
        self.delivered = delivery.position


def engine_loop(bundle: Bundle, rows: int, seconds: float) -> Pace:
    """Run the engine alone: slices of that many streams of the load's length, and nobody to send the text to."""
    engine = Engine([bundle], Settings(max_rows=rows))
    streams: dict[_NullSink, Row] = {}
    seeds = count()

    def begin(length: int) -> None:
        sink = _NullSink()
        generation = Generation(np.zeros(1, np.int64), length, seed=next(seeds))
        streams[sink] = engine.submit("", generation, sink)

    for row in range(rows):
        begin(max(1, LENGTH * (row + 1) // rows))

    def run() -> int:
        done = engine.slice()
        for delivery in done.deliveries if done else ():
            sink = delivery.sink
            if isinstance(sink, _NullSink):
                sink.put(delivery)
                if delivery.finish:
                    engine.close(streams.pop(sink))
                    begin(LENGTH)
        return done.generated_tokens if done else 0

    return _pace(run, seconds)


def _pace(advance: Callable[[], int], seconds: float) -> Pace:
    """Call a function that returns how many characters it made, for some seconds, after a first call to warm up."""
    advance()
    characters, started, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds:
        characters += advance()
    return Pace(characters / elapsed, 1000 * (time.process_time() - cpu) / characters)

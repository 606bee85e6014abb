"""The roofs without a network: bare loops in this process, on one thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import onnxruntime

from bench.cells import VOCABULARY, Shape
from bench.load import LENGTH, PROMPT_LENGTH
from bench.stock import make_stock_cell
from unrolled_service.engine import Engine
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.row import Row
from unrolled_service.settings import Settings

STEPS = 16
_GATHERING_S = 0.1


@dataclass(frozen=True)
class Pace:
    """What a loop made of its time, in steps of a row; each of them gives a character, but for those of prompts."""

    steps_per_s: float
    cpu_s_per_1000_steps: float

    def mean(self, other: "Pace") -> "Pace":
        """Return what lies between this and another one."""
        return Pace(
            (self.steps_per_s + other.steps_per_s) / 2, (self.cpu_s_per_1000_steps + other.cpu_s_per_1000_steps) / 2
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
    advance = make_engine_loop(bundle, rows)
    _pace(advance, _GATHERING_S)  # as much text is to wait untold when the window begins as when it ends
    return _pace(advance, seconds)


def make_engine_loop(bundle: Bundle, rows: int) -> Callable[[], int]:
    """Return what runs a slice of an engine with that many streams, and returns the steps that they wanted.

    A step is wanted that feeds a token of a prompt or gives a character; what a row computes past its last character
    is not. Steps count when their text is told, which may be some slices later.
    """
    engine = Engine([bundle], Settings(max_rows=rows))
    streams: dict[_NullSink, Row] = {}
    prompt, seeds = np.zeros(PROMPT_LENGTH, np.int64), count()

    def begin(length: int) -> None:
        sink = _NullSink()
        streams[sink] = engine.submit("", Generation(prompt, length, seed=next(seeds)), sink)

    for row in range(rows):
        begin(max(1, LENGTH * (row + 1) // rows))

    def advance() -> int:
        done = engine.slice()
        if not done:
            return 0
        steps = done.prompt_tokens + done.generated_tokens
        for delivery in done.deliveries:
            sink = delivery.sink
            if isinstance(sink, _NullSink):
                sink.put(delivery)
                if delivery.finish:
                    steps -= 1  # the last token of the prompt and the first character are of one step
                    engine.close(streams.pop(sink))
                    begin(LENGTH)
        return steps

    return advance


def _pace(advance: Callable[[], int], seconds: float) -> Pace:
    """Call a function that returns how many steps it made, for some seconds, after a first call to warm up."""
    advance()
    steps, started, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds or not steps:
        steps += advance()
    return Pace(steps / elapsed, 1000 * (time.process_time() - cpu) / steps)

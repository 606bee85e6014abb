"""A cell over sequences: equal to NumPy step by step, and a row to the bit the same in any company."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unrolled_service.graphs.runtime import ProgramError
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceOutcome, SequenceProgram
from unrolled_service.graphs.state import StateSpec

F, H, V = 3, 5, 7
Floats = NDArray[np.float32]
Step = Callable[[Floats, tuple[Floats, ...]], tuple[Floats, tuple[Floats, ...]]]


def sigmoid(x: Floats) -> Floats:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A cell, and the same thing in NumPy: ``step`` takes a row of what the first product gives."""

    program: SequenceProgram
    table: Floats
    step: Step
    states: int
    reads_tokens: bool
    feeds_back: bool


GATES = {"none": 1, "rnn": 1, "gru": 3, "lstm": 4}


@cache
def make_case(kind: str, *, reads_tokens: bool, feeds_back: bool, is_encoder: bool = False) -> Case:
    """Build a layer by hand from the operators that exported cells are made of."""
    random = np.random.default_rng(len(kind) + 2 * reads_tokens + feeds_back)
    gates, outputs = GATES[kind], F if feeds_back else 4
    drawn = {
        "w": random.normal(0, 0.7, (V if reads_tokens else F, gates * H)),
        "u": random.normal(0, 0.5, (H, gates * H)),
        "b": random.normal(0, 0.3, gates * H),
        "d": random.normal(0, 0.7, (H, outputs)),
        "e": random.normal(0, 0.3, outputs),
    }
    w: dict[str, Floats] = {name: value.astype(np.float32) for name, value in drawn.items()}
    first = helper.make_node("Gather", ["w", "token"], ["x"])
    if not reads_tokens:
        first = helper.make_node("Gemm", ["input", "w", "b"], ["x"])
    nodes = [first]

    def add(op: str, *inputs: str, output: str) -> None:
        nodes.append(helper.make_node(op, inputs, [output]))

    def split(source: str, parts: list[str]) -> None:
        nodes.append(helper.make_node("Split", [source, "sizes"], parts, axis=1))

    hidden, states = "new_h0", 1 if kind in {"rnn", "gru"} else 2
    if kind == "none":
        hidden, states = "hidden", 0
        add("Tanh", "x", output=hidden)
    elif kind == "rnn":
        add("Gemm", "h0", "u", "x", output="a")
        add("Tanh", "a", output=hidden)
    elif kind == "gru":
        add("MatMul", "h0", "u", output="a")
        split("x", ["xr", "xz", "xn"])
        split("a", ["ar", "az", "an"])
        for gate in "rz":
            add("Add", f"x{gate}", f"a{gate}", output=f"s{gate}")
            add("Sigmoid", f"s{gate}", output=gate)
        add("Mul", "r", "an", output="rn")
        add("Add", "xn", "rn", output="sn")
        add("Tanh", "sn", output="n")
        add("Sub", "h0", "n", output="difference")
        add("Mul", "z", "difference", output="kept")
        add("Add", "n", "kept", output=hidden)
    else:
        add("Gemm", "h0", "u", "x", output="a")
        split("a", ["ai", "af", "an", "ao"])
        for gate in "ifo":
            add("Sigmoid", f"a{gate}", output=gate)
        add("Tanh", "an", output="n")
        add("Mul", "f", "c0", output="kept")
        add("Mul", "i", "n", output="entered")
        add("Add", "kept", "entered", output="new_c0")
        add("Tanh", "new_c0", output="shown")
        add("Mul", "o", "shown", output=hidden)
    if not is_encoder:
        add("Gemm", hidden, "d", "e", output="output")
    names = ["h0", "c0"][:states]
    floats, batch = TensorProto.FLOAT, "batch"
    takes = helper.make_tensor_value_info("input", floats, [batch, F])
    if reads_tokens:
        takes = helper.make_tensor_value_info("token", TensorProto.INT64, [batch])
    gives = [] if is_encoder else [helper.make_tensor_value_info("output", floats, [batch, outputs])]
    graph = helper.make_graph(
        nodes,
        kind,
        [takes, *(helper.make_tensor_value_info(name, floats, [batch, H]) for name in names)],
        [*gives, *(helper.make_tensor_value_info(f"new_{name}", floats, [batch, H]) for name in names)],
        [
            *(numpy_helper.from_array(value, name) for name, value in w.items()),
            numpy_helper.from_array(np.full(gates, H, np.int64), "sizes"),
        ],
    )
    cell = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    def step(x: Floats, before: tuple[Floats, ...]) -> tuple[Floats, tuple[Floats, ...]]:
        x = w["w"][int(x)] if reads_tokens else x @ w["w"] + w["b"]
        if kind == "none":
            return np.tanh(x) @ w["d"] + w["e"], ()
        a = before[0] @ w["u"]
        if kind == "rnn":
            after: tuple[Floats, ...] = (np.tanh(a + x),)
        elif kind == "gru":
            (xr, xz, xn), (ar, az, an) = np.split(x, 3), np.split(a, 3)
            n, z = np.tanh(xn + sigmoid(xr + ar) * an), sigmoid(xz + az)
            after = (n + z * (before[0] - n),)
        else:
            i, f, n, o = np.split(a + x, 4)
            c = sigmoid(f) * before[1] + sigmoid(i) * np.tanh(n)
            after = (sigmoid(o) * np.tanh(c), c)
        return after[0] @ w["d"] + w["e"], after

    program = SequenceProgram(
        cell,
        [StateSpec(name, f"new_{name}", (H,), 0.25) for name in names],
        input_width=0 if reads_tokens else F,
        output="" if is_encoder else "output",
        output_width=0 if is_encoder else outputs,
        feeds_back=feeds_back,
    )
    return Case(program, w["w"], step, states, reads_tokens, feeds_back)


def draw_batch(case: Case, steps: NDArray[np.int64], seed: int, traced: list[int]) -> tuple[SequenceBatch, Floats]:
    """Return a batch of random inputs, and random states."""
    random, rows, most = np.random.default_rng(seed), len(steps), max(1, int(steps.max()))
    inputs: NDArray[Any] = random.normal(size=(most, rows, F)).astype(np.float32)
    if case.reads_tokens:
        inputs = random.integers(0, V, (most, rows))
    forced = random.integers(0, steps + 1) if case.feeds_back else steps
    last = random.normal(size=(rows, F if case.feeds_back else 0)).astype(np.float32)
    state = random.uniform(-1, 1, (rows, len(case.program.initial))).astype(np.float32)
    return SequenceBatch(inputs, steps, forced, last, np.array(traced, np.int64)), state


def cut(batch: SequenceBatch, row: int, start: int, stop: int, last: Floats) -> SequenceBatch:
    """Return steps of one row, alone."""
    return SequenceBatch(
        batch.inputs[start:stop, row : row + 1],
        np.array([stop - start]),
        np.clip(batch.forced[row : row + 1] - start, 0, stop - start),
        last,
        batch.traced,
    )


def run_alone(case: Case, batch: SequenceBatch, state: Floats, row: int, most: int) -> SequenceOutcome:
    """Run one row by itself, at most so many steps a call."""
    last, state = batch.last[row : row + 1], state[row : row + 1]
    outputs, traces = [], []
    for start in range(0, int(batch.steps[row]), most):
        stop = min(start + most, int(batch.steps[row]))
        outcome = case.program.run(cut(batch, row, start, stop, last), state)
        last, state = outcome.last, outcome.state
        outputs.append(outcome.outputs)
        traces.append(outcome.trace)
    empty = np.empty((0, 1, 0), np.float32)
    joined = (np.concatenate(parts) if parts else empty for parts in (outputs, traces))
    return SequenceOutcome(next(joined), state, last, next(joined))


SHAPES = [
    (kind, reads_tokens, feeds_back)
    for kind in GATES
    for reads_tokens, feeds_back in ((True, False), (False, False), (False, True))
    if kind != "none" or not feeds_back
]


@settings(max_examples=80)
@given(data=st.data(), shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**32))
def test_every_step_equals_numpy(data: st.DataObject, shape: tuple[str, bool, bool], seed: int) -> None:
    case = make_case(shape[0], reads_tokens=shape[1], feeds_back=shape[2])
    size = len(case.program.initial)
    steps = np.array(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=5)), np.int64)
    traced = data.draw(st.lists(st.integers(0, size - 1), max_size=4)) if size else []
    batch, state = draw_batch(case, steps, seed, traced)

    outcome = case.program.run(batch, state)

    assert outcome.outputs.shape == (len(batch.inputs), len(steps), case.program.output_width)
    assert outcome.trace.shape == (len(batch.inputs), len(steps), len(traced))
    for row in range(len(steps)):
        tensors = tuple(np.split(state[row], case.states)) if case.states else ()
        last = batch.last[row]
        for step in range(steps[row]):
            fed = batch.inputs[step, row] if step < batch.forced[row] else last
            output, tensors = case.step(fed, tensors)
            last = output if case.feeds_back else last
            np.testing.assert_allclose(outcome.outputs[step, row], output, atol=2e-5, rtol=1e-4)
            flat = np.concatenate([*tensors, np.empty(0, np.float32)])
            np.testing.assert_allclose(outcome.trace[step, row], flat[traced], atol=2e-5, rtol=1e-4)
        np.testing.assert_allclose(outcome.last[row], last, atol=2e-5, rtol=1e-4)
        np.testing.assert_allclose(outcome.state[row], np.concatenate([*tensors, np.empty(0)]), atol=2e-5, rtol=1e-4)


@settings(max_examples=60)
@given(
    shape=st.sampled_from(SHAPES),
    steps=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    most=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_a_row_is_the_same_to_the_bit_alone_and_in_pieces(
    shape: tuple[str, bool, bool], steps: list[int], most: int, seed: int
) -> None:
    case = make_case(shape[0], reads_tokens=shape[1], feeds_back=shape[2])
    traced = [1, 0, len(case.program.initial) - 1] if case.states else []
    batch, state = draw_batch(case, np.array(steps), seed, traced)

    together = case.program.run(batch, state)

    for row, taken in enumerate(steps):
        alone = run_alone(case, batch, state, row, most)
        assert together.state[row].tobytes() == alone.state[0].tobytes()
        assert together.last[row].tobytes() == alone.last[0].tobytes()
        if taken:
            assert together.outputs[:taken, row].tobytes() == alone.outputs[:, 0].tobytes()
            assert together.trace[:taken, row].tobytes() == alone.trace[:, 0].tobytes()


@pytest.mark.parametrize(("kind", "reads_tokens", "feeds_back"), SHAPES)
def test_sixty_four_rows_are_the_same_to_the_bit_as_one(kind: str, reads_tokens: bool, feeds_back: bool) -> None:
    case = make_case(kind, reads_tokens=reads_tokens, feeds_back=feeds_back)
    batch, state = draw_batch(case, np.full(64, 12), 3, [])
    together = case.program.run(batch, state)
    for row in range(64):
        alone = run_alone(case, batch, state, row, 12)
        assert together.outputs[:, row].tobytes() == alone.outputs[:, 0].tobytes()
        assert together.state[row].tobytes() == alone.state[0].tobytes()


def test_a_row_past_its_steps_stays_as_it_is_whatever_stands_there() -> None:
    case = make_case("gru", reads_tokens=False, feeds_back=True)
    batch, state = draw_batch(case, np.array([2, 5, 0]), 1, [])
    spoiled = batch.inputs.copy()
    spoiled[2:, 0], spoiled[:, 2] = np.nan, np.inf
    clean = case.program.run(batch, state)
    outcome = case.program.run(SequenceBatch(spoiled, batch.steps, batch.forced, batch.last, batch.traced), state)
    assert outcome.state.tobytes() == clean.state.tobytes()
    assert outcome.last.tobytes() == clean.last.tobytes()
    assert outcome.state[2].tobytes() == state[2].tobytes()
    assert outcome.last[2].tobytes() == batch.last[2].tobytes()


def test_an_encoder_gives_its_states_alone() -> None:
    case = make_case("lstm", reads_tokens=True, feeds_back=False, is_encoder=True)
    whole = make_case("lstm", reads_tokens=True, feeds_back=False)
    batch, state = draw_batch(case, np.array([4, 1]), 0, [])

    outcome = case.program.run(batch, state)

    assert outcome.outputs.shape == (4, 2, 0)
    assert outcome.trace.shape == (4, 2, 0)
    assert outcome.last.shape == (2, 0)
    assert outcome.state.tobytes() == whole.program.run(batch, state).state.tobytes()


def test_position_0_is_what_the_states_say() -> None:
    assert make_case("lstm", reads_tokens=True, feeds_back=False).program.initial.tolist() == [0.25] * 10
    assert make_case("none", reads_tokens=True, feeds_back=False).program.initial.shape == (0,)


def test_inputs_that_do_not_fit_are_refused() -> None:
    case = make_case("rnn", reads_tokens=True, feeds_back=False)
    batch, state = draw_batch(case, np.array([1]), 0, [])
    outside = SequenceBatch(np.array([[V]]), batch.steps, batch.forced, batch.last, batch.traced)
    with pytest.raises(ProgramError, match="Gather"):
        case.program.run(outside, state)


def test_a_cell_that_the_runtime_does_not_know_is_refused() -> None:
    node = helper.make_node("Surprise", ["token"], ["logits"], domain="some.where")
    graph = helper.make_graph(
        [node],
        "surprise",
        [helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("some.where", 1)]
    cell = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    with pytest.raises(ProgramError, match="Surprise"):
        SequenceProgram(cell, [], input_width=0, output="logits", output_width=2, feeds_back=False)

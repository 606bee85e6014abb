"""The composed program against the plain reference, step by step."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unrolled_export.reference import choose, uniform
from unrolled_service.graphs.program import NOT_FORCED, Batch, Extras, Outcome, Program
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceProgram
from unrolled_service.graphs.state import StateSpec

STATE = StateSpec("h0", "new_h0", (4,))
BORDER = 1e-5  # probability within which a draw may fall to either side of a border


def make_table_program(table: NDArray[np.float32]) -> Program:
    """Return the program of a cell whose logits are the table's row of the token, plus the state's sum."""
    vocabulary_size = table.shape[0]
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["row"], axis=0),
        helper.make_node("Mul", ["h0", "decay"], ["decayed"]),
        helper.make_node("Cast", ["token"], ["token_f"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["token_f", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "gain"], ["fed"]),
        helper.make_node("Add", ["decayed", "fed"], ["new_h0"]),
        helper.make_node("ReduceSum", ["new_h0", "axis"], ["bias"], keepdims=1),
        helper.make_node("Mul", ["bias", "row"], ["biased"]),
        helper.make_node("Add", ["row", "biased"], ["logits"]),
    ]
    values = {
        "table": table,
        "decay": np.float32(0.5),
        "gain": np.float32(0.01),
        "axis": np.array([1], np.int64),
    }
    batch = ["batch"]
    graph = helper.make_graph(
        nodes,
        "table",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, batch),
            helper.make_tensor_value_info("h0", TensorProto.FLOAT, [*batch, 4]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*batch, vocabulary_size]),
            helper.make_tensor_value_info("new_h0", TensorProto.FLOAT, [*batch, 4]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    cell = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return Program(cell, [STATE], vocabulary_size)


def reference_step(
    table: NDArray[np.float32], token: int, state: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    state = state * np.float32(0.5) + np.float32(token) * np.float32(0.01)
    return table[token] + state.sum(dtype=np.float32) * table[token], state


def temperatures(sampling: Sequence[Sampling]) -> NDArray[np.float32]:
    """Return the temperatures of rows as a program takes them: f32[B, 1]."""
    return np.array([[each.temperature] for each in sampling], np.float32)


TEMPERATURES = st.one_of(st.just(0.0), st.floats(0.0625, 3, width=32))


def samplings(vocabulary_size: int) -> st.SearchStrategy[Sampling]:
    """Return what draws a sampling; the bias may be on any tokens."""
    biases = st.tuples(st.integers(0, vocabulary_size - 1), st.sampled_from([-100.0, -1.5, 3.0]))
    return st.builds(
        Sampling,
        temperature=TEMPERATURES,
        top_k=st.integers(0, 12),
        top_p=st.floats(0.0625, 1, width=32),
        min_p=st.one_of(st.just(0.0), st.floats(0.0625, 1, width=32)),
        repetition_penalty=st.one_of(st.just(1.0), st.floats(0.5, 2, width=32)),
        presence_penalty=st.one_of(st.just(0.0), st.floats(-2, 2, width=32, allow_subnormal=False)),
        frequency_penalty=st.one_of(st.just(0.0), st.floats(-2, 2, width=32, allow_subnormal=False)),
        logit_bias=st.lists(biases, max_size=3).map(lambda pairs: tuple(dict(pairs).items())),
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[np.float32], Batch]:
    """Draw a table, and a batch of which some rows ask for more than a temperature, or none."""
    vocabulary_size = draw(st.one_of(st.integers(2, 10), st.sampled_from([96, 200])))
    rows, steps = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = (random.normal(size=(vocabulary_size, vocabulary_size)) * 2).astype(np.float32)
    forced = random.integers(0, 2 * vocabulary_size, (steps, rows))
    for row in range(rows):
        forced[draw(st.integers(0, steps)) :, row] = NOT_FORCED
    sampling = draw(st.lists(samplings(vocabulary_size), min_size=rows, max_size=rows))
    asks = draw(st.sampled_from([st.just(False), st.booleans(), st.booleans()]))
    asking = np.flatnonzero(draw(st.lists(asks, min_size=rows, max_size=rows)))
    return table, Batch(
        token=random.integers(0, vocabulary_size, rows),
        forced=forced,
        position=random.integers(0, 1000, rows),
        seed=random.integers(0, 2**63, rows).astype(np.uint64),
        temperature=temperatures(sampling),
        extras=Extras(
            rows=asking,
            sampling=[sampling[row] for row in asking],
            generated=random.integers(0, 3, (len(asking), vocabulary_size)).astype(np.float32),
            fed=random.integers(0, 2, (len(asking), vocabulary_size)).astype(np.float32),
            target=random.integers(-1, vocabulary_size, (steps, len(asking))) if draw(st.booleans()) else None,
            described=draw(st.integers(1, vocabulary_size)),
            traced=draw(
                st.none() | st.lists(st.integers(0, 3), max_size=5).map(lambda places: np.array(places, np.int64))
            ),
        )
        if len(asking)
        else None,
    )


@settings(max_examples=300)
@given(batches())
def test_every_step_equals_the_reference(case: tuple[NDArray[np.float32], Batch]) -> None:
    table, batch = case
    (steps, rows), vocabulary_size = batch.forced.shape, len(table)
    extras = batch.extras or Extras(np.empty(0, np.int64), [])
    nothing = np.zeros((rows, vocabulary_size), np.float32)

    outcome = make_table_program(table).run(batch, np.zeros((rows, 4), np.float32))

    places = {int(row): i for i, row in enumerate(extras.rows)}
    for row in range(rows):
        token, state, i = int(batch.token[row]), np.zeros(4, np.float32), places.get(row)
        sampling = Sampling(float(batch.temperature[row, 0])) if i is None else extras.sampling[i]
        generated, fed = (
            (nothing if i is None or counts is None else counts[[i]])[0].copy()
            for counts in (extras.generated, extras.fed)
        )
        for step in range(steps):
            code = int(batch.forced[step, row])
            token = token if code < 0 else code % vocabulary_size
            (fed if 0 <= code < vocabulary_size else generated)[token] += 1
            logits, state = reference_step(table, token, state)
            draw = uniform(int(batch.seed[row]), int(batch.position[row]) + step)
            token = int(outcome.tokens[step, row])
            adjusted = adjust(logits, sampling, generated, fed)
            assert token in allowed(adjusted, float(draw), sampling)
            if i is not None and extras.target is not None:
                check_description(outcome, step, row, logits, int(extras.target[step, i]), extras.described)
            if extras.traced is not None:
                assert outcome.trace is not None
                assert np.allclose(outcome.trace[step, row], state[extras.traced], atol=1e-6)
        assert np.allclose(outcome.state[row], state, atol=1e-6)
    assert (outcome.descriptions is None) == (extras.target is None)
    assert (outcome.trace is None) == (extras.traced is None)


def adjust(
    logits: NDArray[np.float32], sampling: Sampling, generated: NDArray[np.float32], fed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Apply bias and penalties as vLLM defines them, one token after the other."""
    adjusted = logits.copy()
    for token, amount in sampling.logit_bias:
        adjusted[token] += np.float32(amount)
    for token in range(len(logits)):
        if generated[token] + fed[token]:
            penalty = np.float32(sampling.repetition_penalty)
            adjusted[token] = adjusted[token] / penalty if adjusted[token] > 0 else adjusted[token] * penalty
        adjusted[token] -= np.float32(sampling.frequency_penalty) * generated[token]
        adjusted[token] -= np.float32(sampling.presence_penalty) * (generated[token] > 0)
    return adjusted


def check_description(
    outcome: Outcome, step: int, row: int, logits: NDArray[np.float32], target: int, described: int
) -> None:
    logprobs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    target = int(outcome.tokens[step, row]) if target < 0 else target
    found = outcome.descriptions
    assert found is not None
    i = found.rows.tolist().index(row)
    assert np.isclose(found.chosen[step, i], logprobs[target], atol=1e-4)
    assert np.allclose(found.top[step, i], np.sort(logprobs)[::-1][:described], atol=1e-4)
    assert np.allclose(logprobs[found.top_tokens[step, i]], found.top[step, i], atol=1e-4)


def allowed(logits: NDArray[np.float32], draw: float, sampling: Sampling) -> set[int]:
    """Return the reference's choice, and its neighbours where a rounding error decides."""
    nudged = [
        choose(
            logits,
            np.float32(min(max(draw + shift, 0), 1 - 2**-24)),
            sampling.temperature,
            sampling.top_k,
            top_p,
            min(sampling.min_p * scale, 1.0),
        ).token
        for shift in (-BORDER, 0, BORDER)
        for top_p in (max(sampling.top_p - BORDER, 1e-9), sampling.top_p, min(sampling.top_p + BORDER, 1.0))
        for scale in (1 - BORDER, 1, 1 + BORDER)
    ]
    return set(nudged)


@pytest.mark.parametrize("name", ["seed", "state", "one", "forced", "inputs", "steps"])
def test_a_state_may_have_any_name(name: str) -> None:
    nodes = [
        helper.make_node("Add", [name, "half"], ["tokens"]),
        helper.make_node("Gather", ["table", "token"], ["logits"]),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "counter",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info(name, floats, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info("logits", floats, ["batch", 2]),
            helper.make_tensor_value_info("tokens", floats, ["batch", 1]),
        ],
        [
            numpy_helper.from_array(np.array(0.5, np.float32), "half"),
            numpy_helper.from_array(np.eye(2, dtype=np.float32), "table"),
        ],
    )
    cell = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    states, zero = [StateSpec(name, "tokens", (1,))], np.zeros(1, np.int64)
    batch = Batch(zero, np.full((3, 1), NOT_FORCED), zero, zero.astype(np.uint64), np.zeros((1, 1), np.float32))
    assert Program(cell, states, 2).run(batch, np.zeros((1, 1), np.float32)).state.tolist() == [[1.5]]

    sequence = SequenceProgram(cell, states, input_width=0, output="logits", output_width=2, feeds_back=False)
    three = np.array([3])
    read = SequenceBatch(np.zeros((3, 1), np.int64), three, three, np.empty((1, 0), np.float32), zero)
    outcome = sequence.run(read, np.zeros((1, 1), np.float32))
    assert outcome.trace.ravel().tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("neighbours", [0, 1, 7, 63])
def test_a_row_does_not_depend_on_its_neighbours_or_on_k(neighbours: int) -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(20, 20)).astype(np.float32)
    program = make_table_program(table)

    def run(rows: int, steps: int, sampling: list[Sampling]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        state, taken, token = np.zeros((rows, 4), np.float32), [], np.zeros(rows, np.int64)
        asking = [row for row, each in enumerate(sampling) if each != Sampling()]
        for start in range(0, 24, steps):
            batch = Batch(
                token,
                np.full((steps, rows), NOT_FORCED),
                np.full(rows, start),
                np.arange(rows, dtype=np.uint64) + np.uint64(5),
                temperatures(sampling),
                Extras(np.array(asking), [sampling[row] for row in asking]) if asking else None,
            )
            outcome = program.run(batch, state)
            tokens, state = outcome.tokens, outcome.state
            token = tokens[-1]
            taken.append(tokens)
        return np.concatenate(taken), state

    solo_tokens, solo_state = run(1, 24, [Sampling()])
    others = [
        Sampling(
            top_k=1 + i % 5, temperature=0.0 if i % 3 else 1.0, frequency_penalty=i % 2, logit_bias=((i % 20, 5.0),)
        )
        for i in range(neighbours)
    ]
    for steps in (1, 3, 8, 24):
        tokens, state = run(1 + neighbours, steps, [Sampling(), *others])
        assert (tokens[:, 0] == solo_tokens[:, 0]).all()
        assert (state[0] == solo_state[0]).all()


@settings(max_examples=60)
@given(st.data(), st.sampled_from([3, 96, 200]), st.floats(2.0**-20, 2.0**20, width=32), st.booleans())
def test_greedy_takes_the_first_of_the_likeliest_whatever_the_draw(
    data: st.DataObject, size: int, scale: float, is_plain: bool
) -> None:
    levels = np.array([0.5, 1.0, np.nextafter(np.float32(1), np.float32(0)), -3.0], np.float32) * np.float32(scale)
    chosen = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    logits = levels[chosen]
    rows = 4
    batch = Batch(
        np.zeros(rows, np.int64),
        np.full((1, rows), NOT_FORCED),
        np.arange(rows),
        np.arange(rows, dtype=np.uint64),
        np.zeros((rows, 1), np.float32),
        None
        if is_plain
        else Extras(np.arange(rows), [Sampling(temperature=0.0, top_k=i, logit_bias=((0, 0.0),)) for i in range(rows)]),
    )
    program = make_table_program(np.tile(logits, (size, 1)))

    outcome = program.run(batch, np.zeros((rows, 4), np.float32))

    assert outcome.tokens.tolist() == [[int(logits.argmax())] * rows]

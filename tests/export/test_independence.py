"""Exported cells of every kind give a row the same bits in any company: the promise that seeded texts rest on."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig
from unrolled_export.graph import trace
from unrolled_export.model import SequenceModel
from unrolled_export.shape import Signature
from unrolled_export.step import RecurrentStep
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceProgram
from unrolled_service.graphs.state import StateSpec
from unrolled_service.models.probe import is_independent, mixes_rows

F, OUTPUTS, STEPS, ROWS = 5, 3, 24, 33


def make_program(kind: CellKind, hidden: int) -> SequenceProgram:
    torch.manual_seed(1)
    config = ModelConfig(kind, layers=1, hidden=hidden)
    model = SequenceModel(config, F, OUTPUTS, reads_tokens=False).eval()
    with torch.no_grad():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    names = config.state_names
    before: dict[str, tuple[int, ...]] = dict.fromkeys(names, (hidden,))
    after: dict[str, tuple[int, ...]] = {f"new_{name}": (hidden,) for name in names}
    signature = Signature({"input": (F,), **before}, {"output": (OUTPUTS,), **after})
    states = [StateSpec(name, f"new_{name}", (hidden,)) for name in names]
    cell = trace(RecurrentStep(model), signature)
    return SequenceProgram(cell, states, input_width=F, output="output", output_width=OUTPUTS, feeds_back=False)


def make_sociable_program(hidden: int) -> SequenceProgram:
    """Build a cell whose rows look at one another."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["h0", "input"], ["sum"]),
            helper.make_node("ReduceMean", ["sum"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["sum", "mean"], ["new_h0"]),
            helper.make_node("Identity", ["new_h0"], ["output"]),
        ],
        "cell",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", hidden]) for name in ("input", "h0")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", hidden]) for name in ("output", "new_h0")],
    )
    cell = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(cell)
    states = [StateSpec("h0", "new_h0", (hidden,))]
    return SequenceProgram(cell, states, input_width=hidden, output="output", output_width=hidden, feeds_back=False)


@pytest.mark.parametrize("hidden", [7, 33])
@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_row_is_the_same_alone_and_among_others(kind: CellKind, hidden: int) -> None:
    program = make_program(kind, hidden)
    random = np.random.default_rng(hidden)
    inputs = random.normal(0, 3, (STEPS, ROWS, F)).astype(np.float32)
    steps = random.integers(1, STEPS + 1, ROWS)

    def run(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        taken = steps[rows]
        batch = SequenceBatch(
            inputs=np.ascontiguousarray(inputs[: taken.max(), rows]),
            steps=taken,
            forced=taken,
            last=np.empty((len(taken), 0), np.float32),
            traced=np.empty(0, np.int64),
        )
        outcome = program.run(batch, np.tile(program.initial, (len(taken), 1)))
        return outcome.outputs, outcome.state

    outputs, states = run(slice(None))
    for row in range(ROWS):
        own_outputs, own_state = run(slice(row, row + 1))
        assert np.array_equal(own_outputs[:, 0], outputs[: steps[row], row])
        assert np.array_equal(own_state[0], states[row])
    assert is_independent(program, 0)
    assert not mixes_rows(program, 0, rounding=1e-3)


def test_a_cell_whose_rows_depend_on_one_another_is_noticed() -> None:
    program = make_sociable_program(7)
    assert not is_independent(program, 0)
    assert mixes_rows(program, 0, rounding=1e-3)

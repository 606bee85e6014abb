"""A program computes what its cell computes, whatever the cell's graph was rewritten to."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.support.lstm import LETTERS, write_lstm_bundle
from unrolled_service.graphs.fusion import fuse_products
from unrolled_service.graphs.parting import part_gates
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.graphs.state import StateSpec

HIDDEN, ROWS, STEPS = 32, 5, 40
SPECS = [StateSpec(name, f"new_{name}", (HIDDEN,)) for name in ("h0", "c0", "h1", "c1")]


@pytest.fixture(scope="module", params=["cell.onnx", "cell.int8.onnx"])
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("rewrites") / "lstm"
    model: onnx.ModelProto = onnx.load(str(write_lstm_bundle(folder, hidden=HIDDEN, int8=True) / request.param))
    return model


def operators(graph: onnx.GraphProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.node)


def rewritten(cell: onnx.ModelProto) -> onnx.GraphProto:
    graph = onnx.GraphProto()
    graph.CopyFrom(cell.graph)
    fuse_products(graph)
    part_gates(graph)
    return graph


def test_products_are_fused_and_gates_parted(cell: onnx.ModelProto) -> None:
    before, after = operators(cell.graph), operators(rewritten(cell))

    assert before["Split"] == 2
    assert after["Split"] == 0
    assert after["MatMulInteger"] == 0
    recurrent = max(0, before["MatMulInteger"] - 1)  # the decoder's product has no gates
    assert after["MatMulIntegerToFloat"] == before["MatMulInteger"] + 3 * recurrent
    assert after["Gather"] == 4 * before["Gather"]


def test_the_program_gives_the_cells_numbers(cell: onnx.ModelProto) -> None:
    plain = onnxruntime.InferenceSession(cell.SerializeToString(), providers=["CPUExecutionProvider"])
    names = ["logits", *(spec.output for spec in SPECS)]
    token = np.arange(ROWS, dtype=np.int64)
    states = [np.zeros((ROWS, HIDDEN), np.float32) for _ in SPECS]
    expected: list[NDArray[np.int64]] = []
    for _ in range(STEPS):
        logits, *states = plain.run(
            names, {"token": token, **{spec.input: s for spec, s in zip(SPECS, states, strict=True)}}
        )
        token = logits.argmax(axis=1)
        expected.append(token)

    batch = Batch(
        token=np.arange(ROWS, dtype=np.int64),
        forced=np.full((STEPS, ROWS), NOT_FORCED, np.int64),
        position=np.ones(ROWS, np.int64),
        seed=np.zeros(ROWS, np.uint64),
        temperature=np.zeros((ROWS, 1), np.float32),
    )
    program = Program(cell, SPECS, len(LETTERS))
    outcome = program.run(batch, np.tile(program.initial, (ROWS, 1)))

    assert (outcome.tokens == np.array(expected)).all()
    assert np.allclose(outcome.state, np.concatenate(states, axis=1), atol=1e-5)


def make_graph(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("a", "b")) -> onnx.GraphProto:
    """Return a graph that takes x, f32[B, 3], with a matrix and a bias of two gates of two units."""
    random = np.random.default_rng(0)
    values = {"matrix": random.normal(size=(3, 4)), "bias": random.normal(size=4)}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    initializers.append(numpy_helper.from_array(np.array([2, 2], np.int64), "even"))
    initializers.append(numpy_helper.from_array(np.array([1, 3], np.int64), "uneven"))
    return helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        initializers,
    )


def compute(graph: onnx.GraphProto) -> list[NDArray[np.float32]]:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    found: list[NDArray[np.float32]] = session.run(None, {"x": x})
    return found


GEMM = helper.make_node("Gemm", ["x", "matrix", "bias"], ["gates"])


@pytest.mark.parametrize("sizes", [["even"], []])
def test_a_split_product_is_parted(sizes: list[str]) -> None:
    split = helper.make_node("Split", ["gates", *sizes], ["a", "b"], axis=1)
    if not sizes:
        split.attribute.append(helper.make_attribute("num_outputs", 2))
    graph = make_graph(GEMM, split)
    before = compute(graph)
    part_gates(graph)

    assert operators(graph) == {"Gemm": 2}
    assert all(np.allclose(x, y, atol=1e-6) for x, y in zip(before, compute(graph), strict=True))


@pytest.mark.parametrize(
    "nodes",
    [
        [GEMM, helper.make_node("Split", ["gates", "uneven"], ["a", "b"], axis=1)],
        [GEMM, helper.make_node("Split", ["gates"], ["a", "b"], axis=0, num_outputs=2)],
        [
            helper.make_node("Gemm", ["x", "matrix", "bias"], ["gates"], alpha=0.5),
            helper.make_node("Split", ["gates", "even"], ["a", "b"], axis=1),
        ],
        [
            helper.make_node("Gemm", ["x", "matrix", "bias"], ["raw"]),
            helper.make_node("Tanh", ["raw"], ["gates"]),
            helper.make_node("Split", ["gates", "even"], ["a", "b"], axis=1),
        ],
    ],
    ids=["uneven", "rows", "scaled", "bent"],
)
def test_what_cannot_be_parted_stays(nodes: list[onnx.NodeProto]) -> None:
    graph = make_graph(*nodes)
    before = list(graph.node)
    part_gates(graph)

    assert list(graph.node) == before


def test_a_product_that_is_read_elsewhere_stays_whole() -> None:
    split = helper.make_node("Split", ["gates", "even"], ["a", "b"], axis=1)
    graph = make_graph(GEMM, split, outputs=("a", "b", "gates"))
    part_gates(graph)

    assert operators(graph) == {"Gemm": 1, "Split": 1}

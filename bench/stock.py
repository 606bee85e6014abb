"""The stock form of a reference cell: ONNX's own LSTM operator, as exporters write it."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.cells import Shape


def make_stock_cell(shape: Shape, vocabulary_size: int) -> bytes:
    """Return one step of an LSTM: one-hot input, the LSTM operator a layer, a Gemm; random weights."""
    nodes = [
        helper.make_node("OneHot", ["token", "depth", "off_on"], ["hot"]),
        helper.make_node("Unsqueeze", ["hot", "time"], ["x0"]),
    ]
    for layer in range(shape.layers):
        inputs = [f"x{layer}", f"W{layer}", f"R{layer}", f"B{layer}", "", f"h{layer}", f"c{layer}"]
        outputs = [f"y{layer}", f"new_h{layer}", f"new_c{layer}"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=shape.hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "direction"], [f"x{layer + 1}"]))
    nodes.append(helper.make_node("Squeeze", [f"x{shape.layers}", "time"], ["top"]))
    nodes.append(helper.make_node("Gemm", ["top", "D", "b"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "stock",
        [helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"]), *_state_values("", shape)],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", vocabulary_size]),
            *_state_values("new_", shape),
        ],
        [numpy_helper.from_array(value, name) for name, value in _make_weights(shape, vocabulary_size).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _make_weights(shape: Shape, vocabulary_size: int) -> dict[str, NDArray[Any]]:
    random, hidden = np.random.default_rng(0), shape.hidden

    def draw(*extents: int) -> NDArray[np.float32]:
        return random.uniform(-0.1, 0.1, extents).astype(np.float32)

    weights: dict[str, NDArray[Any]] = {
        "depth": np.array(vocabulary_size, np.int64),
        "off_on": np.array([0, 1], np.float32),
        "time": np.array([0], np.int64),
        "direction": np.array([1], np.int64),
        "D": draw(hidden, vocabulary_size),
        "b": np.zeros(vocabulary_size, np.float32),
    }
    for layer in range(shape.layers):
        weights |= {
            f"W{layer}": draw(1, 4 * hidden, hidden if layer else vocabulary_size),
            f"R{layer}": draw(1, 4 * hidden, hidden),
            f"B{layer}": draw(1, 8 * hidden),
        }
    return weights


def _state_values(prefix: str, shape: Shape) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, [1, "batch", shape.hidden])
        for name in shape.state_names
    ]

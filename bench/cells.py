"""The reference cells: random weights in the served form and as the stock ONNX operator."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from unrolled.v1.bundle_pb2 import State
from unrolled_export.authoring import export_cell
from unrolled_export.config import ModelConfig
from unrolled_export.model import CharacterModel
from unrolled_export.step import CharacterStep

VOCABULARY = [chr(code) for code in range(32, 128)]
_FOLDER = Path("build/bench")


def make_bundle(layers: int, hidden: int) -> Path:
    """Return the bundle of an LSTM with random weights, made on first use."""
    name = f"lstm-{layers}x{hidden}"
    folder = _FOLDER / name
    if not folder.exists():
        config = ModelConfig(cell="lstm", layers=layers, hidden=hidden)
        torch.manual_seed(0)
        model = CharacterModel(config, len(VOCABULARY)).eval()
        states = [
            State(input=state, output=f"new_{state}", dtype="float32", shape=[hidden]) for state in config.state_names
        ]
        export_cell(CharacterStep(model), states=states, vocabulary=VOCABULARY, name=name, output=folder)
    return folder


def make_stock_cell(layers: int, hidden: int) -> bytes:
    """Return the same shape as stock ONNX: one-hot input, the LSTM operator a layer, a Gemm."""
    random, width = np.random.default_rng(0), len(VOCABULARY)
    weights: dict[str, np.ndarray] = {
        "depth": np.array(width, np.int64),
        "off_on": np.array([0, 1], np.float32),
        "time": np.array([0], np.int64),
        "direction": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("OneHot", ["token", "depth", "off_on"], ["hot"]),
        helper.make_node("Unsqueeze", ["hot", "time"], ["x0"]),
    ]
    for layer in range(layers):
        fed = width if layer == 0 else hidden
        weights |= {
            f"W{layer}": random.uniform(-0.1, 0.1, (1, 4 * hidden, fed)).astype(np.float32),
            f"R{layer}": random.uniform(-0.1, 0.1, (1, 4 * hidden, hidden)).astype(np.float32),
            f"B{layer}": random.uniform(-0.1, 0.1, (1, 8 * hidden)).astype(np.float32),
        }
        inputs = [f"x{layer}", f"W{layer}", f"R{layer}", f"B{layer}", "", f"h{layer}", f"c{layer}"]
        outputs = [f"y{layer}", f"new_h{layer}", f"new_c{layer}"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "direction"], [f"x{layer + 1}"]))
    weights |= {
        "D": random.uniform(-0.1, 0.1, (hidden, width)).astype(np.float32),
        "b": np.zeros(width, np.float32),
    }
    nodes.append(helper.make_node("Squeeze", [f"x{layers}", "time"], ["top"]))
    nodes.append(helper.make_node("Gemm", ["top", "D", "b"], ["logits"]))
    states = [f"{kind}{layer}" for layer in range(layers) for kind in "hc"]
    graph = helper.make_graph(
        nodes,
        "stock",
        [helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"])]
        + [helper.make_tensor_value_info(state, TensorProto.FLOAT, [1, "batch", hidden]) for state in states],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])]
        + [helper.make_tensor_value_info(f"new_{state}", TensorProto.FLOAT, [1, "batch", hidden]) for state in states],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

"""Bundles of the alphabet cell that begin elsewhere: where a source, or a condition, says.

The state counts steps; here it begins at a number that can be worked out on paper: the sum of the source's tokens,
which an encoder adds up and a bridge hands on, or 0 or 5, as the condition's label is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.support.alphabet import CERTAIN, LETTERS, describe_alphabet, make_cell, write_files

SOURCE, LENGTH = (1, 2, 4), 8
LABELS = {"near": 0, "far": 5}


def write_transducer(folder: Path) -> Path:
    """Write the bundle that begins after a source and return its folder."""
    encoder = make_graph(
        [
            helper.make_node("Cast", ["token"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["number", "axis"], ["column"]),
            helper.make_node("Add", ["e0", "column"], ["new_e0"]),
        ],
        {"token": None, "e0": 1},
        {"new_e0": 1},
        {"axis": np.array([1])},
    )
    bridge = make_graph(
        [helper.make_node("Mul", ["new_e0", "one"], ["h0"])], {"new_e0": 1}, {"h0": 1}, {"one": np.float32(1)}
    )
    own: dict[str, Any] = {
        "task": "TASK_TRANSDUCE",
        "encoder": {
            "vocabulary": list(LETTERS),
            "states": [{"input": "e0", "output": "new_e0", "dtype": "float32", "shape": [1]}],
            "hasBridge": True,
        },
        "feedback": {"startToken": 0, "length": LENGTH},
    }
    run = {"source": {"tokens": SOURCE}}
    return _write(folder, own, {"encoder.onnx": encoder, "bridge.onnx": bridge}, [(run, sum(SOURCE))])


def write_conditioned(folder: Path) -> Path:
    """Write the bundle that begins at a condition and return its folder."""
    condition = make_graph(
        [helper.make_node("MatMul", ["condition", "beginnings"], ["h0"])],
        {"condition": len(LABELS)},
        {"h0": 1},
        {"beginnings": np.array([*LABELS.values()], np.float32)[:, None]},
    )
    own = {
        "condition": {"port": {"modality": "MODALITY_LABEL", "width": len(LABELS), "names": [*LABELS]}},
        "feedback": {"startToken": 0, "length": LENGTH},
    }
    labels = np.eye(len(LABELS)).tolist()
    runs = [({"condition": label}, begun) for label, begun in zip(labels, LABELS.values(), strict=True)]
    return _write(folder, own, {"condition.onnx": condition}, runs)


def make_graph(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, int | None],
    outputs: Mapping[str, int],
    constants: Mapping[str, Any],
) -> bytes:
    """Return a graph; its tensors have so many numbers a row, and None is a token."""

    def describe(name: str, width: int | None) -> onnx.ValueInfoProto:
        if width is None:
            return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch"])
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])

    graph = helper.make_graph(
        list(nodes),
        "beginning",
        [describe(*each) for each in inputs.items()],
        [describe(*each) for each in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def _write(
    folder: Path, own: Mapping[str, Any], graphs: Mapping[str, bytes], runs: Sequence[tuple[dict[str, Any], int]]
) -> Path:
    """Write a bundle with golden runs, each from the state that it begins with."""
    recorded = [run | _play(begun) for run, begun in runs]
    golden = {"runs": recorded, "tolerance": 0.001, "margin": 1.0}
    cell = make_cell(len(LETTERS), CERTAIN).SerializeToString()
    files = {"cell.onnx": cell, "golden.json": json.dumps(golden).encode(), **graphs}
    return write_files(folder, {**describe_alphabet("beginning", LETTERS), **own}, files)


def _play(begun: int) -> dict[str, Any]:
    """Return what is fed from the first token on, and the logits after each."""
    tokens = [0]
    for step in range(LENGTH):
        tokens.append((tokens[-1] + begun + step + 1) % len(LETTERS))
    logits = CERTAIN * np.eye(len(LETTERS))[tokens[1:]]
    return {"inputs": {"tokens": tokens[:-1]}, "outputs": [{"values": row.tolist()} for row in logits]}

"""`unrolled wrap` makes a bundle of a graph that another toolkit wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from unrolled_export.cli import wrap
from unrolled_export.manifest import parse_manifest
from unrolled_export.replay import GREEDY, Cell, generate
from unrolled_export.verification import verify_bundle

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from unrolled_export.cli import wrap; wrap()"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A graph with names of its own: scores of the token two after the one before, which is its state."""
    float_info, int_info = TensorProto.FLOAT, TensorProto.INT64
    nodes = [
        helper.make_node("Gather", ["shifted", "ids"], ["now"]),
        helper.make_node("Add", ["now", "memory_in"], ["scores"]),
        helper.make_node("Mul", ["now", "faint"], ["memory_out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [
            helper.make_tensor_value_info("ids", int_info, ["N"]),
            helper.make_tensor_value_info("memory_in", float_info, ["N", 3]),
        ],
        [
            helper.make_tensor_value_info("scores", float_info, ["N", 3]),
            helper.make_tensor_value_info("memory_out", float_info, ["N", 3]),
        ],
        [
            numpy_helper.from_array(9 * np.roll(np.eye(3, dtype=np.float32), 2, axis=1), "shifted"),
            numpy_helper.from_array(np.array(0.01, np.float32), "faint"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "foreign.onnx")
    return tmp_path / "foreign.onnx"


def _wrap(file: Path, output: Path, **changed: str) -> Result:
    told = {"state": "memory_in=memory_out", "token": "ids", "logits": "scores", "vocabulary": "abc"} | changed
    words = [str(file), "-o", str(output)]
    return CliRunner().invoke(wrap, words + [word for name, value in told.items() for word in (f"--{name}", value)])


def test_wrapped_graph_is_a_bundle_that_proves_itself(foreign: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "wrapped"
    result = _wrap(foreign, bundle)
    assert result.exit_code == 0, result.output
    verification = verify_bundle(bundle)
    assert verification.is_ok, verification.checks
    manifest = parse_manifest((bundle / "manifest.json").read_bytes())
    assert [(state.input, state.output, list(state.shape)) for state in manifest.states] == [
        ("memory_in", "memory_out", [3])
    ]
    choices = generate(Cell((bundle / "cell.onnx").read_bytes(), manifest.states), [0], 4, GREEDY)
    assert "".join(manifest.vocabulary[choice.token] for choice in choices) == "cbac"


def test_wrapping_needs_no_torch(foreign: Path, tmp_path: Path) -> None:
    words = ["--state", "memory_in=memory_out", "--token", "ids", "--logits", "scores", "--vocabulary", "abc"]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(foreign), "-o", str(tmp_path / "wrapped"), *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": "memory_in"}, "--state is INPUT=OUTPUT"),
        ({"state": "h=memory_out"}, "the graph has no input h; it takes ids, memory_in"),
        ({"state": "memory_in=new"}, "the graph has no output new"),
        ({"token": "words"}, "the graph has no words"),
        ({"vocabulary": "ab"}, "output logits is not [batch, 2]"),
        ({"vocabulary": "aab"}, "different single characters"),
    ],
)
def test_graph_that_is_something_else_is_refused(
    changed: dict[str, str], words: str, foreign: Path, tmp_path: Path
) -> None:
    result = _wrap(foreign, tmp_path / "wrapped", **changed)
    assert result.exit_code in {1, 2}
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "wrapped").exists()


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "foreign.onnx").write_bytes(b"not a graph")
    result = _wrap(tmp_path / "foreign.onnx", tmp_path / "wrapped")
    assert result.exit_code == 1
    assert "foreign.onnx is not a valid graph" in result.output

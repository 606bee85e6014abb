"""What `unrolled export` writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import State
from unrolled_export.authoring import export_cell
from unrolled_export.config import ModelConfig
from unrolled_export.errors import BundleError, CellError
from unrolled_export.graph import trace_cell
from unrolled_export.manifest import parse_golden, parse_manifest
from unrolled_export.model import CharacterModel
from unrolled_export.publication import publish
from unrolled_export.reference import choose, uniform
from unrolled_export.replay import GREEDY, Cell, generate
from unrolled_export.step import RecurrentStep
from unrolled_export.verification import verify_bundle

COMMAND = "from unrolled_export.cli import export; export()"


class Countdown(nn.Module):
    """Predict the token that `steps` more than the given one is, without any weight matrix."""

    def __init__(self, size: int = 5, error: float = 0.0) -> None:
        super().__init__()
        self.size, self.error = size, error
        self.table = nn.Parameter(torch.eye(size))

    def forward(self, token: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        # Rows are far apart so that no rounding can change a choice.
        place = torch.remainder(token + steps[:, 0].long(), self.size)
        return self.table[place] * 9.0, steps + 1.0


STEPS = State(input="steps", output="new_steps", dtype="float32", shape=[1], initial=1.0)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_hello_is_learned(hello_bundles: dict[str, Path], cell: str) -> None:
    bundle = hello_bundles[cell]
    manifest = parse_manifest((bundle / "manifest.json").read_bytes())
    vocabulary = "".join(manifest.vocabulary)
    choices = generate(Cell((bundle / "cell.onnx").read_bytes(), manifest.states), [vocabulary.index("h")], 4, GREEDY)
    assert "".join(vocabulary[choice.token] for choice in choices) == "ello"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_golden_run_keeps_its_margin(hello_bundles: dict[str, Path], cell: str) -> None:
    bundle = hello_bundles[cell]
    manifest = parse_manifest((bundle / "manifest.json").read_bytes())
    golden = parse_golden((bundle / "golden.json").read_bytes(), manifest)
    assert golden.margin >= 1e-5
    assert len(golden.greedy) == len(golden.sampled) == 200
    runtime = Cell((bundle / "cell.onnx").read_bytes(), manifest.states)
    history = np.array([*golden.prompt, *golden.sampled], np.int64)[:, None]
    logits = runtime.read(history)[len(golden.prompt) - 1 : -1, 0]
    for position, (row, token) in enumerate(zip(logits, golden.sampled, strict=True), start=len(golden.prompt)):
        choice = choose(row, uniform(golden.seed, position))
        assert choice.token == token
        assert choice.margin >= golden.margin


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_minimal_cell_learns_hello_and_has_no_int8(
    cell: str, invoke_train: Callable[..., Result], tmp_path: Path
) -> None:
    assert invoke_train("hello", "--cell", cell, "--layers", "2", "-o", tmp_path / "run").exit_code == 0
    with pytest.raises(CellError, match=f"{cell} has no int8 variant"):
        publish(tmp_path / "run", tmp_path / "bundle", name="hello", precision="int8")
    manifest = publish(tmp_path / "run", tmp_path / "bundle", name="hello")
    runtime = Cell((tmp_path / "bundle" / "cell.onnx").read_bytes(), manifest.states)
    choices = generate(runtime, [manifest.vocabulary[:].index("h")], 4, GREEDY)
    assert "".join(manifest.vocabulary[choice.token] for choice in choices) == "ello"
    assert verify_bundle(tmp_path / "bundle").is_ok


def test_bytes_are_the_same_every_time_and_anywhere(
    hello_runs: dict[str, Path], hello_bundles: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    output = tmp_path / "hello-lstm"
    subprocess.run(
        [
            sys.executable,
            "-c",
            COMMAND,
            os.path.relpath(hello_runs["lstm"], tmp_path / "deep"),
            "-o",
            str(output),
        ],
        cwd=tmp_path / "deep",
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    for file in hello_bundles["lstm"].iterdir():
        assert (output / file.name).read_bytes() == file.read_bytes(), file.name
    assert {file.name for file in tmp_path.iterdir()} == {"deep", "hello-lstm"}


def test_graph_tells_nothing_of_the_machine(hello_bundles: dict[str, Path]) -> None:
    content = (hello_bundles["lstm"] / "cell.onnx").read_bytes()
    model = onnx.load_from_string(content)
    for word in (b"site-packages", b".py", str(Path.home()).encode(), str(Path.cwd()).encode(), b"torch"):
        assert word not in content
    assert (model.ir_version, [(item.domain, item.version) for item in model.opset_import]) == (
        10,
        [("", 20)],
    )
    assert [entry.key for entry in model.metadata_props] == ["unrolled.manifest"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@pytest.mark.parametrize(
    ("cell", "nodes"),
    [
        ("rnn", {"Gather": 1, "Gemm": 4, "Tanh": 2}),
        ("gru", {"Gather": 1, "Gemm": 4, "Split": 4, "Sigmoid": 4, "Tanh": 2, "Add": 8, "Sub": 2, "Mul": 4}),
        ("lstm", {"Gather": 1, "Gemm": 4, "Split": 2, "Sigmoid": 6, "Tanh": 4, "Add": 2, "Mul": 6}),
    ],
)
def test_graph_is_lean(cell: str, nodes: dict[str, int]) -> None:
    config = ModelConfig(cell=cell, layers=2, hidden=4)  # type: ignore[arg-type]
    states = [State(input=name, output=f"new_{name}", shape=[4]) for name in config.state_names]
    graph = trace_cell(RecurrentStep(CharacterModel(config, 3)), states, 3).graph
    assert Counter(node.op_type for node in graph.node) == nodes


def test_bundle_is_complete(hello_bundles: dict[str, Path]) -> None:
    bundle = hello_bundles["gru"]
    assert {file.name for file in bundle.iterdir()} == {
        "README.md",
        "cell.onnx",
        "curve.csv",
        "curve.png",
        "golden.json",
        "manifest.json",
    }
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["files"]) == ["cell.onnx", "golden.json"]
    assert manifest["vocabulary"] == ["e", "h", "l", "o"]
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "unrolled train --text hello -o gru --cell gru" in card


def test_own_cell_is_exported(tmp_path: Path) -> None:
    manifest = export_cell(
        Countdown(), states=[STEPS], vocabulary=list("abcde"), name="countdown", output=tmp_path / "countdown"
    )
    assert verify_bundle(tmp_path / "countdown").is_ok
    content = (tmp_path / "countdown" / "cell.onnx").read_bytes()
    choices = generate(Cell(content, manifest.states), [0], 5, GREEDY)
    assert [choice.token for choice in choices] == [1, 3, 1, 0, 0]


def test_cell_that_differs_from_its_oracle_leaves_nothing(tmp_path: Path) -> None:
    def oracle(tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, 5)

    with pytest.raises(
        CellError, match=r"differs from the paper at batch 1: logits by 9, first above 0\.0001 at step 0"
    ):
        export_cell(
            Countdown(),
            states=[STEPS],
            vocabulary=list("abcde"),
            name="countdown",
            output=tmp_path / "countdown",
            oracles={"the paper": oracle},
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"name": "Count Down"}, BundleError, "cannot name a model"),
        ({"vocabulary": list("abcda")}, BundleError, "different single characters"),
        ({"vocabulary": list("abc")}, CellError, "it gave"),
        ({"states": []}, BundleError, "state"),
        (
            {"states": [State(input="steps", output="new_steps", dtype="float32", shape=[2])]},
            CellError,
            "must give",
        ),
    ],
)
def test_cell_that_breaks_the_law_is_refused(
    change: dict[str, object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    told: dict[str, object] = {"states": [STEPS], "vocabulary": list("abcde"), "name": "countdown"}
    module = Narrow() if words == "must give" else Countdown()
    with pytest.raises(error, match=words):
        export_cell(module, output=tmp_path / "x", **{**told, **change})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


class Narrow(Countdown):
    """Give a state of another shape than it takes."""

    def forward(self, token: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        logits, after = super().forward(token, steps)
        return logits, after[:, :1]


def test_place_is_respected(hello_runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear").write_text("keep me")
    for force in (False, True):
        with pytest.raises(BundleError, match="not empty"):
            publish(hello_runs["rnn"], tmp_path / "letters", name="x", force=force)
    publish(hello_runs["rnn"], tmp_path / "bundle", name="one")
    with pytest.raises(BundleError, match="--force"):
        publish(hello_runs["rnn"], tmp_path / "bundle", name="two")
    publish(hello_runs["rnn"] / "best.pt", tmp_path / "bundle", name="two", force=True)
    assert parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes()).name == "two"
    assert {path.name for path in tmp_path.iterdir()} == {"letters", "bundle"}

"""Bundles of every shape: what the manifest may say, parity with what was trained, and verification."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import numpy_helper
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    MODALITY_VECTOR,
    TASK_TAG,
    Example,
    Examples,
    Figure,
    Manifest,
    Port,
    Series,
    State,
    Vector,
)
from unrolled_export.agreement import check_agreement
from unrolled_export.cli import export
from unrolled_export.composition import export_shape
from unrolled_export.config import CellKind
from unrolled_export.course import Course, prepare_lesson, write_course
from unrolled_export.course_bundle import read_with
from unrolled_export.course_run import play
from unrolled_export.errors import BundleError, CellError
from unrolled_export.fitting import Round
from unrolled_export.lesson import Settings
from unrolled_export.manifest import parse_examples, parse_golden, parse_manifest, to_pretty_json
from unrolled_export.recipes import RECIPES
from unrolled_export.verification import verify_bundle

SEQUENCES = [name for name, recipe in RECIPES.items() if recipe.module]
LABEL = {"modality": "MODALITY_LABEL", "width": 2, "names": ["a", "b"]}
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from unrolled_export.cli import verify; verify()"


def _invoke(command: Any, *words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.mark.parametrize(("recipe", "cell"), [("dates", "lstm"), ("tagger", "minlstm")])
def test_exported_graphs_equal_what_is_trained(recipe: str, cell: CellKind) -> None:
    lesson = prepare_lesson(recipe, Settings(cell=cell, hidden=8))
    for weight in lesson.model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    lesson.model.eval()
    player = play(lesson)
    check_agreement(player, {"the model": read_with(lesson.model)})
    with torch.no_grad():
        for weight in lesson.model.parameters():
            weight.add_(0.1)
    with pytest.raises(CellError, match="differ from the model at batch 1"):
        check_agreement(player, {"the model": read_with(lesson.model)})


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export every recipe on sequences with the weights that it begins with; exporting compares it with PyTorch."""
    folder = tmp_path_factory.mktemp("shapes")
    for recipe in SEQUENCES:
        settings, run = Settings(hidden=8), folder / "runs" / recipe
        run.mkdir(parents=True)
        weights = prepare_lesson(recipe, settings).model.state_dict()
        figures = [Figure(name="exact", value=0.25, count=1000)]
        course = Course(recipe, settings, weights, figures, [Round(1, 2.0, 3.0, True)], f"unrolled train {recipe}")
        write_course(run / "best.pt", course)
        result = _invoke(export, run, "-o", folder / recipe)
        assert result.exit_code == 0, result.output
    return {recipe: folder / recipe for recipe in SEQUENCES}


def test_bundles_of_every_shape_verify_without_torch(shaped: dict[str, Path]) -> None:
    for recipe, bundle in shaped.items():
        verification = verify_bundle(bundle)
        assert verification.is_ok, (recipe, verification.checks)
        assert "golden runs" in {check.name for check in verification.checks}
    command = [sys.executable, "-c", WITHOUT_TORCH, str(shaped["dates"])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_bundle_says_what_it_is(shaped: dict[str, Path]) -> None:
    manifest = parse_manifest((shaped["dates"] / "manifest.json").read_bytes())
    assert sorted(manifest.files) == ["bridge.onnx", "cell.onnx", "encoder.onnx", "examples.json", "golden.json"]
    assert [state.shape[0] for state in manifest.states] == [6]
    assert [state.shape[0] for state in manifest.encoder.states] == [8]
    (figure,) = manifest.evaluation.figures
    assert (figure.name, figure.count) == ("exact", 1000)
    examples = parse_examples((shaped["dates"] / "examples.json").read_bytes())
    first = "".join(manifest.vocabulary[token] for token in examples.examples[0].wanted.tokens)
    assert first[4:5] == first[7:8] == "-"
    card = (shaped["dates"] / "README.md").read_text()
    assert "unrolled train dates" in card
    assert "| **exact** | **0.2500** over 1,000 |" in card
    one = parse_manifest((shaped["one-to-one"] / "manifest.json").read_bytes())
    assert not one.states


def test_bundle_has_as_many_examples_as_asked_for(shaped: dict[str, Path], tmp_path: Path) -> None:
    run = shaped["tagger"].parent / "runs" / "tagger"
    assert _invoke(export, run, "-o", tmp_path / "few", "--examples", "3").exit_code == 0
    few, many = (parse_examples((path / "examples.json").read_bytes()) for path in (tmp_path / "few", shaped["tagger"]))
    assert list(few.examples) == list(many.examples)[:3]
    assert verify_bundle(tmp_path / "few").is_ok


def test_exported_bytes_are_the_same_every_time(shaped: dict[str, Path], tmp_path: Path) -> None:
    bundle = shaped["circles-quadrants"]
    again = tmp_path / "circles-quadrants"
    assert _invoke(export, bundle.parent / "runs" / bundle.name, "-o", again).exit_code == 0
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in bundle.iterdir()
    }


@pytest.mark.parametrize(
    ("recipe", "file"),
    [("dates", "encoder.onnx"), ("dates", "bridge.onnx"), ("circles-quadrants", "condition.onnx")],
)
def test_exchanged_graph_behind_right_checksums_is_named(
    shaped: dict[str, Path], tmp_path: Path, recipe: str, file: str
) -> None:
    bundle = Path(shutil.copytree(shaped[recipe], tmp_path / "bundle"))
    model = onnx.load(bundle / file)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(values + np.float32(0.5), weight.name))
    onnx.save(model, bundle / file)
    content = json.loads((bundle / "manifest.json").read_text())
    content["files"][file] = sha256((bundle / file).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(content))
    ((check, detail),) = [(each.name, each.detail) for each in verify_bundle(bundle).checks if not each.is_ok]
    assert check == "golden runs"
    assert "run 0" in detail


def test_missing_graph_is_named(shaped: dict[str, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(shaped["reverse"], tmp_path / "bundle"))
    (bundle / "encoder.onnx").unlink()
    differing = [check for check in verify_bundle(bundle).checks if not check.is_ok]
    assert [(check.name, check.detail) for check in differing] == [("encoder.onnx checksum", "encoder.onnx is missing")]


@pytest.mark.parametrize(
    ("recipe", "change", "words"),
    [
        ("tagger", {"task": "TASK_GENERATE"}, "does not go with an output of MODALITY_LABEL"),
        ("tagger", {"vocabulary": []}, "two or more different single characters"),
        (
            "tagger",
            {"vocabulary": None, "input": {"modality": "MODALITY_VECTOR"}},
            "input has width 0, and is MODALITY_VECTOR",
        ),
        ("tagger", {"vocabulary": None, "input": LABEL}, "no cell takes"),
        ("tagger", {"output": {"modality": "MODALITY_LABEL", "width": 2, "names": ["a", "a"]}}, "2 different names"),
        ("tagger", {"feedback": {"length": 3}}, "TASK_TAG does not go with feedback"),
        ("tagger", {"encoder": {}}, "an encoder goes with TASK_TRANSDUCE"),
        ("tagger", {"states": [{"input": "token", "output": "x", "dtype": "float32", "shape": [1]}]}, "of its own"),
        ("reverse", {"encoder": None}, "TASK_TRANSDUCE with an encoder"),
        ("reverse", {"feedback": None}, "TASK_TRANSDUCE needs feedback"),
        ("reverse", {"feedback": {"start_token": 99}}, "a token that is not below 27"),
        ("reverse", {"states": []}, "every state needs"),
        ("reverse", {"condition": {"port": {"modality": "MODALITY_VECTOR", "width": 2}}}, "goes with TASK_GENERATE"),
        ("circles-quadrants", {"input": {"modality": "MODALITY_VECTOR", "width": 3}}, "fed back, but input and output"),
        ("circles-quadrants", {"feedback": {"start": [0.5]}}, "not one vector of the input's width"),
        ("circles-quadrants", {"vocabulary": ["a", "b"]}, "nothing is a token"),
        ("circles-quadrants", {"condition": {"port": {}}}, "a condition is a label or a vector"),
    ],
)
def test_manifest_whose_fields_do_not_go_together_is_refused(
    shaped: dict[str, Path], recipe: str, change: dict[str, Any], words: str
) -> None:
    content = json.loads((shaped[recipe] / "manifest.json").read_text())
    content.update(change)
    content = {name: value for name, value in content.items() if value is not None}
    with pytest.raises(BundleError, match=words):
        parse_manifest(json.dumps(content).encode())


def test_decoder_that_does_not_fit_the_encoder_needs_a_bridge(shaped: dict[str, Path]) -> None:
    content = json.loads((shaped["dates"] / "manifest.json").read_text())
    del content["encoder"]["has_bridge"]
    with pytest.raises(BundleError, match="there is no bridge"):
        parse_manifest(json.dumps(content).encode())


def test_golden_runs_end_where_the_model_ends(shaped: dict[str, Path]) -> None:
    for recipe in ("reverse", "addition", "dates"):
        manifest = parse_manifest((shaped[recipe] / "manifest.json").read_bytes())
        golden = parse_golden((shaped[recipe] / "golden.json").read_bytes(), manifest)
        for run in golden.runs:
            assert run.inputs.tokens[0] == manifest.feedback.start_token
            assert len(run.outputs) == len(run.inputs.tokens) <= manifest.feedback.length
            chosen = [int(np.argmax(output.values)) for output in run.outputs]
            assert chosen[:-1] == list(run.inputs.tokens[1:])
            is_full = len(chosen) == manifest.feedback.length
            assert is_full or chosen[-1] == manifest.feedback.end_token


class LeakySum(nn.Module):
    """Add up what comes in, forget a tenth a step, and say whether it is above one half."""

    def forward(self, given: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        total = 0.9 * total + given.sum(dim=1, keepdim=True)
        return torch.cat([0.5 - total, total - 0.5], dim=1), total


def test_own_cell_of_another_shape_is_exported(tmp_path: Path) -> None:
    inputs = Series(vectors=[Vector(values=[0.4, 0.0]), Vector(values=[0.0, 0.3])])
    manifest = export_shape(
        {"cell.onnx": LeakySum()},
        Manifest(
            task=TASK_TAG,
            states=[State(input="total", output="new_total", dtype="float32", shape=[1])],
            input=Port(modality=MODALITY_VECTOR, width=2),
            output=Port(modality=MODALITY_LABEL, width=2, names=["low", "high"]),
        ),
        Examples(examples=[Example(inputs=inputs, wanted=Series(tokens=[0, 1]))]),
        name="leaky",
        output=tmp_path / "leaky",
    )
    assert manifest.architecture.cell == "leakysum"
    assert verify_bundle(tmp_path / "leaky").is_ok
    golden = parse_golden((tmp_path / "leaky" / "golden.json").read_bytes(), manifest)
    np.testing.assert_allclose(golden.runs[0].outputs[1].values, [-0.16, 0.16], atol=1e-6)
    assert parse_manifest(to_pretty_json(manifest)) == manifest

"""The int8 variant: near to fp32, exact in itself, measured, and refused where it loses too much."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from unrolled.v1.bundle_pb2 import Evaluation, State
from unrolled_export.authoring import export_cell
from unrolled_export.checkpoint import read_tensors, write_tensors
from unrolled_export.cli import export, train
from unrolled_export.config import CellKind, ModelConfig
from unrolled_export.errors import CellError
from unrolled_export.golden import record_golden
from unrolled_export.graph import trace_cell
from unrolled_export.held_out import choose_text
from unrolled_export.manifest import parse_golden, parse_manifest
from unrolled_export.model import CharacterModel
from unrolled_export.quantisation import quantise_cell, quantise_columns
from unrolled_export.replay import GREEDY, Cell, generate
from unrolled_export.sealing import to_bytes
from unrolled_export.step import RecurrentStep
from unrolled_export.trained import KIND, read_trained
from unrolled_export.variant import Recipe, Text, make_form, measure
from unrolled_export.verification import verify_bundle

V = 7
VERSE = "".join(f"{n} bottles of beer on the wall\n" for n in range(99, 0, -1))


@pytest.fixture(scope="module")
def verse_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small model until it knows its text."""
    folder = tmp_path_factory.mktemp("int8")
    (folder / "verse.txt").write_text(VERSE)
    words = ["--hidden", "32", "--streams", "8", "--chunk", "25", "--epochs", "20", "--learning-rate", "0.02"]
    result = CliRunner().invoke(train, [str(folder / "verse.txt"), "-o", str(folder / "run"), *words])
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture(scope="module")
def verse_bundle(verse_run: Path) -> Path:
    result = _export(verse_run, verse_run.parent / "verse")
    assert result.exit_code == 0, result.output
    return verse_run.parent / "verse"


def _export(run: Path, bundle: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(export, [str(run), "-o", str(bundle), "--precision", "int8", *map(str, words)])


def _cells(bundle: Path) -> tuple[Cell, Cell]:
    states = parse_manifest((bundle / "manifest.json").read_bytes()).states
    first, second = (Cell((bundle / name).read_bytes(), states) for name in ("cell.onnx", "cell.int8.onnx"))
    return first, second


@cache
def _random_cell(kind: CellKind, layers: int) -> tuple[onnx.ModelProto, list[State]]:
    torch.manual_seed(0)
    model = CharacterModel(ModelConfig(cell=kind, layers=layers, hidden=24), V)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return _trace(model.eval())


def _trace(model: CharacterModel) -> tuple[onnx.ModelProto, list[State]]:
    shape = [model.config.hidden]
    states = [
        State(input=name, output=f"new_{name}", dtype="float32", shape=shape) for name in model.config.state_names
    ]
    return trace_cell(RecurrentStep(model), states, model.width), states


def _quantise(cell: onnx.ModelProto, states: list[State]) -> onnx.ModelProto:
    return quantise_cell(cell, [state for state in states if state.input.startswith("h")])


def test_trained_cell_stays_near_fp32(verse_bundle: Path) -> None:
    fp32, int8 = _cells(verse_bundle)
    vocabulary = list(parse_manifest((verse_bundle / "manifest.json").read_bytes()).vocabulary)
    tokens = np.array([vocabulary.index(letter) for letter in VERSE[-600:]], np.int64)[:, None]
    wanted, given = fp32.read(tokens), int8.read(tokens)
    assert 0 < np.abs(given - wanted).max() < 1
    assert (given.argmax(-1) == wanted.argmax(-1)).mean() > 0.93


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_every_kind_of_cell_is_quantised(kind: CellKind, layers: int) -> None:
    cell, states = _random_cell(kind, layers)
    before = cell.SerializeToString(deterministic=True)
    quantised = _quantise(cell, states)
    assert cell.SerializeToString(deterministic=True) == before
    assert (quantised.graph.input, quantised.graph.output) == (cell.graph.input, cell.graph.output)
    counts = Counter(node.op_type for node in quantised.graph.node)
    merged = 0 if kind == "gru" else layers - 1
    assert counts["Gemm"] == 0
    assert counts["MatMulInteger"] == counts["Cast"] == 2 * layers - merged
    assert counts["Concat"] == merged
    # Each h once, and each new h, which feeds the layer above it or the decoder.
    assert counts["QuantizeLinear"] == 2 * layers
    tokens = np.random.default_rng(1).integers(0, V, (20, 5))
    wanted, given = (Cell(to_bytes(each), states).read(tokens) for each in (cell, quantised))
    assert np.abs(given - wanted).max() < 0.05


def _watched(model: onnx.ModelProto, name: str) -> onnxruntime.InferenceSession:
    """Make one inner tensor of a graph an output."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(watched.SerializeToString(), options)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_products_are_those_of_integers(kind: CellKind) -> None:
    cell, states = _random_cell(kind, 1)
    model = _quantise(cell, states)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in cell.graph.initializer}
    product = next(node for node in cell.graph.node if node.op_type == "Gemm")
    generator = np.random.default_rng(2)
    feeds = {state.input: generator.uniform(-1, 1, (9, 24)).astype(np.float32) for state in states}
    feeds["h0"][0, :2] = -1, 1
    token = generator.integers(0, V, 9)
    (given,) = _watched(model, product.output[0]).run([product.output[0]], {"token": token, **feeds})

    rounded, scale = quantise_columns(weights[product.input[1]])
    assert np.abs(rounded).max() == 64
    hidden = np.clip(np.rint(feeds["h0"] / np.float32(1 / 127)) + 128, 0, 255).astype(np.uint8)
    sums = (hidden.astype(np.int32) - 128) @ rounded.astype(np.int32)
    wanted = sums.astype(np.float32) * (scale * np.float32(1 / 127))
    match product.input[2:]:
        case ["embedding"]:
            wanted += weights["table"][token]
        case [bias]:
            wanted += weights[bias]
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_row_is_the_same_in_every_batch(kind: CellKind) -> None:
    cell, states = _random_cell(kind, 3)
    int8 = Cell(to_bytes(_quantise(cell, states)), states)
    tokens = np.random.default_rng(3).integers(0, V, (6, 64))
    alone = np.concatenate([int8.read(tokens[:, row : row + 1]) for row in range(64)], axis=1)
    for batch in range(1, 65):
        np.testing.assert_array_equal(int8.read(tokens[:, :batch]), alone[:, :batch])


def test_column_of_zeros_stays_zero() -> None:
    rounded, scale = quantise_columns(np.array([[0, 1], [0, -0.5]], np.float32))
    assert rounded.tolist() == [[0, 64], [0, -32]]
    assert scale.tolist() == [1, 1 / 64]


def test_cell_without_bounded_states_is_refused() -> None:
    cell, _ = _random_cell("lstm", 1)
    with pytest.raises(CellError, match="nothing can be quantised"):
        quantise_cell(cell, [])


def test_bundle_has_both_forms(verse_run: Path, verse_bundle: Path) -> None:
    manifest = parse_manifest((verse_bundle / "manifest.json").read_bytes())
    (variant,) = manifest.variants
    assert (variant.precision, variant.cell, variant.golden) == ("int8", "cell.int8.onnx", "golden.int8.json")
    assert set(manifest.files) == {"cell.onnx", "golden.json", "cell.int8.onnx", "golden.int8.json"}
    copies = [onnx.load(verse_bundle / name).metadata_props for name in ("cell.onnx", "cell.int8.onnx")]
    assert copies[0] == copies[1]
    assert "variants" in copies[0][0].value
    assert verify_bundle(verse_bundle).is_ok
    measured = read_trained(verse_run).evaluation
    assert measured is not None
    assert variant.evaluation.dataset == variant.baseline.dataset == "the last 10 % of verse.txt"
    assert variant.baseline.nats_per_char == pytest.approx(measured.nats_per_char, abs=0.3)


def test_card_has_a_row_a_precision(verse_bundle: Path) -> None:
    card = (verse_bundle / "README.md").read_text()
    (variant,) = parse_manifest((verse_bundle / "manifest.json").read_bytes()).variants
    loss = variant.evaluation.nats_per_char - variant.baseline.nats_per_char
    rows = re.findall(r"^\| (fp32|int8) \| `(\S+)` \| (\S+) MB \| (\S+) \| (\S+) \| (.*) \|$", card, re.M)
    for row, (name, found, cost) in zip(
        rows, [("fp32", variant.baseline, ""), ("int8", variant.evaluation, f"{loss:+.4f} nats/char")], strict=True
    ):
        precision, file, size, nats, bits, told = row
        assert (precision, told.strip()) == (name, cost)
        assert size == f"{(verse_bundle / file).stat().st_size / 1e6:.2f}"
        assert (nats, bits) == (f"{found.nats_per_char:.4f}", f"{found.bits_per_char:.4f}")
    assert f"{variant.baseline.characters:,} characters predicted" in card


def test_bytes_are_the_same_every_time(verse_run: Path, verse_bundle: Path, tmp_path: Path) -> None:
    words = ["--name", "verse", "--text"]
    assert _export(verse_run, tmp_path / "again", *words, verse_run.parent / "verse.txt").exit_code == 0
    for file in verse_bundle.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_measurement_is_the_mean_over_streams() -> None:
    cell, states = _random_cell("gru", 1)
    runtime = Cell(to_bytes(cell), states)
    tokens = np.random.default_rng(4).integers(0, V, 300)
    text = Text(tokens, "noise")
    assert text.streams == 4
    pieces = torch.from_numpy(tokens.reshape(4, 75).T.copy())
    logits = torch.from_numpy(runtime.read(pieces[:-1].numpy()))
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), pieces[1:].flatten()).item()
    measured = measure(runtime, text)
    assert measured.characters == 296
    assert measured.nats_per_char == pytest.approx(wanted, rel=1e-5)
    assert measured.bits_per_char == pytest.approx(wanted / np.log(2), rel=1e-5)


def _spoil(checkpoint: Path, copy: Path) -> None:
    """Give every column of the recurrence one weight beside which the others round to nothing.

    The unit it reads is held at zero, so that fp32 is not touched.
    """
    content = read_tensors(checkpoint / "best.pt", KIND)
    weights = {name: weight.clone() for name, weight in content["weights"].items()}
    size = content["model"]["hidden"]
    for layer in range(content["model"]["layers"]):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            weights[f"recurrence.{name}_l{layer}"].view(4, size, -1)[:, 0] = 0
        weights[f"recurrence.weight_hh_l{layer}"][:, 0] = 1000.0
        weights[f"recurrence.weight_hh_l{layer}"].view(4, size, -1)[:, 0] = 0
    copy.mkdir()
    write_tensors(copy / "best.pt", {**content, "weights": weights})


def test_variant_that_loses_too_much_is_refused(verse_run: Path, tmp_path: Path) -> None:
    _spoil(verse_run, tmp_path / "run")
    result = _export(tmp_path / "run", tmp_path / "bundle")
    assert result.exit_code == 1
    message = re.search(r"int8 loses ([\d.]+) nats per character on the last 10 % of verse\.txt", result.output)
    assert message is not None, result.output
    assert float(message[1]) > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    text = choose_text(read_trained(verse_run), None)
    trained = read_trained(tmp_path / "run")
    graph, states = _trace(trained.build())
    form = make_form(Recipe("int8", lambda cell: _quantise(cell, states), text, 9.0), graph, states, [[0]])
    loss = form.variant.evaluation.nats_per_char - form.variant.baseline.nats_per_char
    assert loss == pytest.approx(float(message[1]), abs=1e-4)


def test_variant_that_loses_too_much_is_made_where_that_is_accepted(verse_run: Path, tmp_path: Path) -> None:
    _spoil(verse_run, tmp_path / "run")
    result = _export(tmp_path / "run", tmp_path / "bundle", "--accept-loss", "9")
    assert result.exit_code == 0, result.output
    (made,) = parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes()).variants
    loss = made.evaluation.nats_per_char - made.baseline.nats_per_char
    assert loss > 0.01
    assert f"{loss:+.4f} against fp32" in result.output


@pytest.mark.parametrize(
    ("loss", "words", "is_made"),
    [
        (0.0099, [], True),
        (0.0101, [], False),
        (0.0101, ["--accept-loss", "0.0102"], True),
        (0.0099, ["--accept-loss", "0.0098"], False),
        (float("nan"), ["--accept-loss", "9"], False),
    ],
)
def test_loss_of_a_hundredth_is_accepted_if_nothing_is_said(
    loss: float, words: list[str], is_made: bool, verse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([Evaluation(nats_per_char=1.0), Evaluation(nats_per_char=1.0 + loss)])  # of fp32, then of int8
    monkeypatch.setattr("unrolled_export.variant.measure", lambda *_: next(found))
    result = _export(verse_run, tmp_path / "bundle", *words)
    assert result.exit_code == (0 if is_made else 1), result.output
    assert (tmp_path / "bundle").exists() == is_made
    assert (f"int8 loses {loss:.4f} nats per character" in result.output) != is_made


def test_loss_is_measured_on_the_text_given(verse_run: Path) -> None:
    trained = read_trained(verse_run)
    assert trained.evaluation is not None
    old = replace(trained, sample=trained.sample[:100], evaluation=replace(trained.evaluation, streams=1))
    file = verse_run.parent / "verse.txt"
    whole, stored, part = choose_text(old, file), choose_text(trained, None), choose_text(old, None)
    assert whole.dataset == stored.dataset == "the last 10 % of verse.txt"
    np.testing.assert_array_equal(whole.tokens, stored.tokens)
    assert "".join(trained.vocabulary.characters[token] for token in whole.tokens) == VERSE[-len(whole.tokens) :]
    assert part.dataset == "the first 100 characters of the last 10 % of verse.txt"
    np.testing.assert_array_equal(part.tokens, whole.tokens[:100])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text + "!", "they differ in the characters '!'"),
        (lambda text: text * 2, "its length gives"),
        (lambda text: text.replace("wall", "llaw"), "come in another order"),
    ],
)
def test_text_of_another_model_is_refused(
    change: Callable[[str], str], told: str, verse_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text(change(VERSE))
    result = _export(verse_run, tmp_path / "bundle", "--text", tmp_path / "other.txt")
    assert result.exit_code == 1
    assert "other.txt is not the text that the model was trained on" in " ".join(result.output.split())
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "bundle").exists()


def test_model_that_nothing_was_held_out_for(hello_runs: dict[str, Path], tmp_path: Path) -> None:
    result = _export(hello_runs["gru"], tmp_path / "bundle")
    assert result.exit_code == 1
    assert "no held-out text" in result.output
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "hello.txt").write_text("hello")
    assert _export(hello_runs["gru"], tmp_path / "bundle", "--text", tmp_path / "hello.txt").exit_code == 0
    (variant,) = parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes()).variants
    assert variant.evaluation.dataset == "--text (training text)"


def test_options_of_int8_go_with_it(hello_runs: dict[str, Path], tmp_path: Path) -> None:
    for words in (["--accept-loss", "1"], ["--text", __file__]):
        result = CliRunner().invoke(export, [str(hello_runs["rnn"]), "-o", str(tmp_path / "x"), *words])
        assert result.exit_code == 2
        assert f"{words[0]} goes with --precision int8" in result.output


@pytest.mark.parametrize(
    ("name", "check"),
    [("cell.int8.onnx", "cell.int8.onnx checksum"), ("golden.int8.json", "golden.int8.json checksum")],
)
def test_damage_of_a_variant_is_named(verse_bundle: Path, name: str, check: str, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(verse_bundle, tmp_path / "bundle"))
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 0x20
    (bundle / name).write_bytes(content)
    checks = verify_bundle(bundle).checks
    assert [each.name for each in checks if not each.is_ok] == [check]
    assert "golden sampled run" in [each.name for each in checks]


def test_other_variant_behind_right_checksums_is_named(verse_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(verse_bundle, tmp_path / "bundle"))
    model = onnx.load(bundle / "cell.int8.onnx")
    bias = next(item for item in model.graph.initializer if item.name == "decoder.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(-3), bias.name))
    onnx.save(model, bundle / "cell.int8.onnx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["cell.int8.onnx"] = sha256((bundle / "cell.int8.onnx").read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert [each.name for each in verify_bundle(bundle).checks if not each.is_ok] == ["int8 golden logits"]


@pytest.mark.parametrize(
    "change", [{"precision": "fp32"}, {"precision": ""}, {"cell": "cell.onnx"}, {"golden": "../golden.json"}]
)
def test_variant_of_the_wrong_name_is_refused(verse_bundle: Path, change: dict[str, str], tmp_path: Path) -> None:
    manifest = json.loads((verse_bundle / "manifest.json").read_text())
    manifest["variants"][0].update(change)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (check,) = verify_bundle(tmp_path).checks
    assert not check.is_ok
    assert "of its own" in check.detail


def test_golden_run_withstands_other_rounding(verse_bundle: Path) -> None:
    manifest = parse_manifest((verse_bundle / "manifest.json").read_bytes())
    golden = parse_golden((verse_bundle / "golden.int8.json").read_bytes(), manifest)
    _, int8 = _cells(verse_bundle)
    tokens = np.array([*golden.prompt, *golden.greedy], np.int64)
    generator, state = np.random.default_rng(99), int8.zero_state(4)
    for position, token in enumerate(tokens[:-1], start=1):
        logits, state = int8.step(np.full(4, token), state)
        if position >= len(golden.prompt):
            assert (logits.argmax(axis=1) == tokens[position]).all()
        for name, values in state.items():
            state[name] = values * (1 + generator.uniform(-1e-7, 1e-7, values.shape)).astype(np.float32)


def test_own_cell_has_a_variant(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CharacterModel(ModelConfig(cell="gru", layers=1, hidden=8), 3)
    state = State(input="h0", output="new_h0", dtype="float32", shape=[8])
    recipe = Recipe("int8", lambda graph: quantise_cell(graph, [state]), Text(np.arange(50) % 3, "abc"))
    manifest = export_cell(
        RecurrentStep(model),
        states=[state],
        vocabulary=list("abc"),
        name="own",
        output=tmp_path / "own",
        variants=[recipe],
    )
    assert [variant.precision for variant in manifest.variants] == ["int8"]
    assert verify_bundle(tmp_path / "own").is_ok
    assert "cell.int8.onnx" in (tmp_path / "own" / "README.md").read_text()


def test_run_is_generated_by_the_variant_itself(verse_bundle: Path) -> None:
    manifest = parse_manifest((verse_bundle / "manifest.json").read_bytes())
    _, int8 = _cells(verse_bundle)
    golden = record_golden(int8, [list(range(4))], rounds=True)
    assert golden.greedy == [choice.token for choice in generate(int8, list(golden.prompt), 200, GREEDY)]
    assert len(golden.logits) == len(manifest.vocabulary)

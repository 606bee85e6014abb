"""Bundles of every shape load, compute what the exporter's own player does, and are refused when damaged."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.support.shapes import KINDS
from unrolled_export.manifest import parse_manifest
from unrolled_export.player import Player
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceProgram
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.models.golden import RunDiffers
from unrolled_service.models.probe import measure_numerics

Shape = Callable[[str], Path]
STEPS = 7
TOKENS = {"composer", "translator", "translator-plain"}
ENCODED = {"translator", "translator-plain", "translator-vectors"}
CONDITIONED = {"drawer", "drawer-vector", "composer"}


def play(folder: Path) -> Player:
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    return Player(manifest, {file.name: file.read_bytes() for file in folder.glob("*.onnx")})


def draw_series(vocabulary_size: int, width: int, seed: int) -> NDArray[Any]:
    """Return a batch of one sequence, int64[T, 1] or f32[T, 1, F]."""
    random = np.random.default_rng(seed)
    if width:
        return random.normal(size=(STEPS, 1, width)).astype(np.float32)
    return random.integers(0, vocabulary_size, (STEPS, 1))


def read(program: SequenceProgram, inputs: NDArray[Any], state: NDArray[np.float32]) -> tuple[Any, Any]:
    """Feed everything; return outputs f32[T, O] and the state f32[S]."""
    steps = np.array([len(inputs)])
    last = np.zeros((1, program.output_width if program.feeds_back else 0), np.float32)
    outcome = program.run(SequenceBatch(inputs, steps, steps, last, np.empty(0, np.int64)), state[None])
    return outcome.outputs[:, 0], outcome.state[0]


def begin(bundle: Bundle, condition: Any, source: Any) -> NDArray[np.float32]:
    if bundle.condition is not None:
        return bundle.condition.begin(condition[0])
    if bundle.encoder is not None:
        _, context = read(bundle.encoder.program, source, bundle.encoder.program.initial)
        return bundle.encoder.bridge(context)
    return bundle.program.initial


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_computes_what_the_exporter_does(shape: Shape, kind: str) -> None:
    bundle, player = load_bundle(shape(kind)), play(shape(kind))
    assert (bundle.condition is not None) == (kind in CONDITIONED)
    assert (bundle.encoder is not None) == (kind in ENCODED)
    condition = source = None
    if bundle.condition is not None:
        condition = np.random.default_rng(1).normal(size=(1, bundle.condition.width)).astype(np.float32)
    if bundle.encoder is not None:
        source = draw_series(len(bundle.encoder.vocabulary), bundle.encoder.program.input_width, 2)
    state = begin(bundle, condition, source)
    wanted = player.begin(1, condition, source)
    flat = [wanted[each.input].ravel() for each in bundle.states]
    np.testing.assert_allclose(state, np.concatenate([*flat, np.empty(0)]), atol=1e-5)

    if isinstance(bundle.program, SequenceProgram):
        assert kind not in TOKENS
        inputs = draw_series(len(bundle.vocabulary), bundle.host.input_width, 3)
        outputs, _ = read(bundle.program, inputs, state)
        np.testing.assert_allclose(outputs, player.cell.read(inputs, wanted)[:, 0], atol=1e-5)
    else:
        assert kind in TOKENS
        chosen = greedy(bundle.program, bundle.manifest.feedback.start_token, 12, state)
        written = player.write(condition, source).tolist()
        assert chosen[: len(written)] == written
        assert len(written) == 12 or chosen[len(written)] == bundle.manifest.feedback.end_token


def greedy(program: Program, start: int, count: int, state: NDArray[np.float32]) -> list[int]:
    forced = np.full((count, 1), NOT_FORCED, np.int64)
    forced[0] = start
    one = np.zeros(1, np.int64)
    batch = Batch(one, forced, one, one.astype(np.uint64), np.zeros((1, 1), np.float32))
    tokens: list[int] = program.run(batch, state[None]).tokens[:, 0].tolist()
    return tokens


@pytest.mark.parametrize("kind", ["drawer", "drawer-vector", "translator-vectors"])
def test_vectors_are_fed_back(shape: Shape, kind: str) -> None:
    bundle, player = load_bundle(shape(kind)), play(shape(kind))
    condition = source = None
    if bundle.condition is not None:
        condition = np.eye(bundle.condition.width, dtype=np.float32)[[1]]
    else:
        source = draw_series(0, 3, 4)
    program, length = bundle.program, bundle.manifest.feedback.length
    assert isinstance(program, SequenceProgram)
    assert program.feeds_back
    batch = SequenceBatch(
        inputs=np.zeros((length, 1, program.input_width), np.float32),
        steps=np.array([length]),
        forced=np.array([0]),
        last=np.array(player.start(), np.float32),
        traced=np.empty(0, np.int64),
    )
    outputs = program.run(batch, begin(bundle, condition, source)[None]).outputs[:, 0]
    np.testing.assert_allclose(outputs, player.write(condition, source), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "state_size", "vocabulary_size", "input_width", "is_generative"),
    [
        ("tagger", 16, 7, 0, False),
        ("tagger-vectors", 16, 0, 3, False),
        ("stateless", 0, 0, 3, False),
        ("classifier", 8, 0, 3, False),
        ("classifier-tokens", 8, 7, 0, False),
        ("drawer", 8, 0, 3, True),
        ("composer", 16, 7, 0, True),
        ("translator", 8, 7, 0, True),
        ("translator-vectors", 8, 0, 2, True),
    ],
)
def test_the_host_says_what_continues_a_session(
    shape: Shape, kind: str, state_size: int, vocabulary_size: int, input_width: int, is_generative: bool
) -> None:
    host = load_bundle(shape(kind)).host
    found = (host.state_size, host.vocabulary_size, host.input_width, host.is_generative, host.precision)
    assert found == (state_size, vocabulary_size, input_width, is_generative, "fp32")


@pytest.mark.parametrize("kind", ["tagger", "stateless", "drawer", "composer"])
def test_the_same_arithmetic_has_the_same_fingerprint(shape: Shape, kind: str) -> None:
    first, second = load_bundle(shape(kind)), load_bundle(shape(kind))
    size = len(first.vocabulary)
    assert measure_numerics(first.program, size) == first.host.numerics == second.host.numerics


@pytest.mark.parametrize("kind", ["tagger", "stateless", "drawer"])
def test_a_fingerprint_notices_the_last_bits_of_weights(shape: Shape, tmp_path: Path, kind: str) -> None:
    folder = copy(shape, kind, tmp_path)
    before = load_bundle(folder).host.numerics
    shift_weights(folder, "cell.onnx", np.float32(1e-6))
    assert load_bundle(folder).host.numerics != before


def test_only_fp32_is_there(shape: Shape) -> None:
    assert load_bundle(shape("tagger"), "fp32").precision == "fp32"
    with pytest.raises(BundleError, match="has no int8 variant"):
        load_bundle(shape("tagger"), "int8")


def copy(shape: Shape, kind: str, folder: Path) -> Path:
    return Path(shutil.copytree(shape(kind), folder / kind))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file, and its checksum if it has one."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    if name != "manifest.json":
        seal(folder, name)


def seal(folder: Path, name: str) -> None:
    digest = sha256((folder / name).read_bytes()).hexdigest()
    edit(folder, "manifest.json", lambda manifest: manifest["files"].update({name: digest}))


def change_graph(folder: Path, name: str, change: Callable[[onnx.GraphProto], object]) -> None:
    model = onnx.load(folder / name)
    change(model.graph)
    (folder / name).write_bytes(model.SerializeToString())
    seal(folder, name)


def shift_weights(folder: Path, name: str, amount: np.float32) -> None:
    def shift(graph: onnx.GraphProto) -> None:
        for weight in graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.dtype == np.float32:
                weight.CopyFrom(numpy_helper.from_array(values + amount, weight.name))

    change_graph(folder, name, shift)


def fix_batch(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


GRAPHS = [
    ("tagger", "cell.onnx"),
    ("stateless", "cell.onnx"),
    ("regressor", "cell.onnx"),
    ("drawer", "condition.onnx"),
    ("composer", "cell.onnx"),
    ("translator", "encoder.onnx"),
    ("translator", "bridge.onnx"),
    ("translator-vectors", "cell.onnx"),
]


@pytest.mark.parametrize(("kind", "name"), GRAPHS)
def test_another_graph_behind_the_right_checksum_is_found_out(
    shape: Shape, tmp_path: Path, kind: str, name: str
) -> None:
    folder = copy(shape, kind, tmp_path)
    shift_weights(folder, name, np.float32(0.5))
    with pytest.raises(
        RunDiffers, match=r"golden\.json: this machine's run 0 differs from the recorded one at step \d"
    ):
        load_bundle(folder)


@pytest.mark.parametrize(("kind", "name"), GRAPHS)
def test_a_damaged_graph_is_named(shape: Shape, tmp_path: Path, kind: str, name: str) -> None:
    folder = copy(shape, kind, tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b" ")
    with pytest.raises(BundleError, match=f"{name}: sha256 is"):
        load_bundle(folder)
    (folder / name).write_bytes(b"hello")
    seal(folder, name)
    with pytest.raises(BundleError, match=f"{name}: not a valid ONNX model"):
        load_bundle(folder)
    (folder / name).write_bytes(content)
    change_graph(folder, name, fix_batch)
    with pytest.raises(BundleError, match=f"{name}: inputs are .*, the manifest says"):
        load_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: No such file"):
        load_bundle(folder)


Change = Callable[[dict[str, Any]], object]


def of_run(change: Change, index: int = 0) -> Change:
    return lambda golden: change(golden["runs"][index])


GOLDEN: list[tuple[str, Change, str]] = [
    ("tagger", lambda golden: golden.update(runs=[]), "has no runs"),
    ("tagger", lambda golden: golden.pop("tolerance"), "tolerance is 0, not between 0 and 1"),
    ("tagger", lambda golden: golden.update(tolerance="NaN"), "tolerance is nan, not between 0 and 1"),
    ("tagger", of_run(lambda run: run.update(inputs={})), "run 0: inputs is not tokens, at least one"),
    ("tagger", of_run(lambda run: run["inputs"]["tokens"].append(0), 1), "run 1: outputs are not as many as inputs"),
    ("tagger", of_run(lambda run: run["inputs"]["tokens"].__setitem__(0, 7)), "run 0: inputs has a token outside"),
    ("tagger", of_run(lambda run: run["outputs"][2]["values"].pop()), "run 0: outputs has one that is not 3 numbers"),
    ("tagger", of_run(lambda run: run.update(condition=[1.0])), "run 0: condition has 1 numbers, not 0"),
    ("tagger", of_run(lambda run: run.update(source={"tokens": [1]})), "run 0: has a source, and nothing reads it"),
    ("stateless", of_run(lambda run: run.update(inputs={"tokens": [1]})), "run 0: inputs is not vectors"),
    (
        "stateless",
        of_run(lambda run: run["inputs"]["vectors"][0]["values"].pop()),
        "run 0: inputs has a vector that is not 3 numbers",
    ),
    ("drawer", of_run(lambda run: run["condition"].pop()), "run 0: condition has 2 numbers, not 3"),
    ("translator", of_run(lambda run: run.pop("source")), "run 0: source is not tokens"),
    ("translator", of_run(lambda run: run.update(source={"tokens": [9]})), "run 0: source has a token outside"),
    ("translator-vectors", of_run(lambda run: run.update(source={"tokens": [1]})), "run 0: source is not vectors"),
]


@pytest.mark.parametrize(("kind", "change", "words"), GOLDEN)
def test_a_record_that_cannot_be_replayed_is_refused(
    shape: Shape, tmp_path: Path, kind: str, change: Change, words: str
) -> None:
    folder = copy(shape, kind, tmp_path)
    edit(folder, "golden.json", change)
    with pytest.raises(BundleError, match=f"golden.json: {words}"):
        load_bundle(folder)


@pytest.mark.parametrize("value", [0.5, "NaN"])
@pytest.mark.parametrize("kind", ["tagger", "regressor", "drawer", "composer"])
def test_a_run_that_differs_is_told_by_its_step(shape: Shape, tmp_path: Path, kind: str, value: object) -> None:
    folder = copy(shape, kind, tmp_path)
    edit(folder, "golden.json", of_run(lambda run: run["outputs"][3]["values"].__setitem__(1, value), 2))
    with pytest.raises(RunDiffers, match=r"golden\.json: this machine's run 2 differs .* at step 3$"):
        load_bundle(folder)


def test_a_choice_that_was_another_is_told_by_its_step(shape: Shape, tmp_path: Path) -> None:
    """Within a tolerance this wide every output is close: what is fed back tells."""
    folder = copy(shape, "composer", tmp_path)

    def choose_otherwise(golden: dict[str, Any]) -> None:
        golden["tolerance"] = 0.99
        run = golden["runs"][0]
        run["outputs"], run["inputs"]["tokens"] = run["outputs"][:2], run["inputs"]["tokens"][:2]
        run["inputs"]["tokens"][1] = (run["inputs"]["tokens"][1] + 1) % 7
        run["outputs"][1]["values"] = recorded["outputs"][1]["values"]

    content = json.loads((folder / "golden.json").read_text())
    recorded = content["runs"][0]
    edit(folder, "golden.json", choose_otherwise)
    with pytest.raises(RunDiffers, match=r"run 0 differs from the recorded one at step [01]$"):
        load_bundle(folder)


def test_fields_that_do_not_go_together_are_refused(shape: Shape, tmp_path: Path) -> None:
    folder = copy(shape, "drawer", tmp_path)
    edit(folder, "manifest.json", lambda manifest: manifest["feedback"].update(start=[1.0]))
    with pytest.raises(BundleError, match=r"manifest\.json: feedback\.start has 1 numbers, input has 3"):
        load_bundle(folder)


def test_a_condition_has_its_names(shape: Shape) -> None:
    condition = load_bundle(shape("drawer")).condition
    assert condition is not None
    assert (condition.width, condition.names, condition.is_label) == (3, ("low", "middle", "high"), True)
    vector = load_bundle(shape("drawer-vector")).condition
    assert vector is not None
    assert (vector.width, vector.names, vector.is_label) == (2, ("across", "down"), False)

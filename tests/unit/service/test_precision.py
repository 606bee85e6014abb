"""A bundle of several forms is served in the one that is asked for, or in the one that is faster here."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.alphabet import CERTAIN, make_cell, sampled_tokens, write_bundle
from unrolled.v1.bundle_pb2 import State
from unrolled_export.golden import record_golden
from unrolled_export.manifest import to_pretty_json
from unrolled_export.quantisation import quantise_cell
from unrolled_export.replay import Cell
from unrolled_service.engine import Engine
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.graphs.state import StateSpec
from unrolled_service.metrics import Metrics
from unrolled_service.models import bundle as module
from unrolled_service.models.bundle import load_bundle
from unrolled_service.settings import Precision, Settings

V, H = 9, 32


def add_variant(folder: Path, cell: bytes, golden: bytes, loss: float = 0.0) -> None:
    files = {"cell.int8.onnx": cell, "golden.int8.json": golden}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    variant = {"precision": "int8", "cell": "cell.int8.onnx", "golden": "golden.int8.json"}
    measured = {"baseline": {"natsPerChar": 1.5}, "evaluation": {"natsPerChar": 1.5 + loss}}
    manifest["variants"] = [variant | measured]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the alphabet with a variant that is less sure of itself, so that its text tells which one runs."""
    path = write_bundle(tmp_path / "alphabet")
    golden = json.loads((path / "golden.json").read_text())
    golden["sampled"] = sampled_tokens(0, 20, seed=0, vocabulary_size=26, sharpness=2.0)
    add_variant(path, make_cell(26, 2.0).SerializeToString(), json.dumps(golden).encode())
    return path


def set_seconds(monkeypatch: pytest.MonkeyPatch, fp32: float, int8: float) -> None:
    def answer(programs: Mapping[str, Program]) -> dict[str, float]:
        return {name: seconds for name, seconds in (("fp32", fp32), ("int8", int8)) if name in programs}

    monkeypatch.setattr(module, "time_programs", answer)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_form_asked_for_is_served(folder: Path, precision: Precision) -> None:
    bundle = load_bundle(folder, precision)
    batch = Batch(
        token=np.zeros(1, np.int64),
        forced=np.full((20, 1), NOT_FORCED, np.int64),
        position=np.ones(1, np.int64),
        seed=np.zeros(1, np.uint64),
        temperature=np.ones((1, 1), np.float32),
    )
    assert isinstance(bundle.program, Program)
    said = bundle.program.run(batch, np.zeros((1, 1), np.float32)).tokens[:, 0].tolist()

    sharpness = {"fp32": CERTAIN, "int8": 2.0}[precision]
    assert bundle.precision == precision
    assert said == sampled_tokens(0, 20, seed=0, vocabulary_size=26, sharpness=sharpness)


@pytest.mark.parametrize(("int8", "chosen"), [(0.5, "int8"), (1 / 1.2, "int8"), (0.9, "fp32"), (2.0, "fp32")])
def test_auto_takes_what_is_clearly_faster(
    folder: Path, int8: float, chosen: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_seconds(monkeypatch, 1.0, int8)
    with caplog.at_level(logging.INFO, logger="unrolled_service"):
        bundle = load_bundle(folder)

    assert bundle.precision == chosen
    assert [record.message for record in caplog.records] == [
        f"{folder}: serving {chosen}; a step of 64 rows takes fp32 62.500 ms, int8 {1e3 * int8 / 16:.3f} ms"
    ]


@pytest.mark.parametrize(("loss", "chosen"), [(-0.2, "int8"), (0.0099, "int8"), (0.0101, "fp32")])
def test_auto_takes_nothing_that_is_clearly_worse(
    folder: Path, loss: float, chosen: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_seconds(monkeypatch, 1.0, 0.1)
    add_variant(folder, (folder / "cell.int8.onnx").read_bytes(), (folder / "golden.int8.json").read_bytes(), loss)

    bundle = load_bundle(folder)
    assert (bundle.precision, bundle.passed_over) == (chosen, ())
    assert ("int8 loses 0.0101 nats per character, so it is served only if asked for" in caplog.text) == (loss > 0.01)
    assert load_bundle(folder, "int8").precision == "int8"


def test_auto_measures_every_form() -> None:
    states = (StateSpec("h0", "new_h0", (1,), 0.0),)
    programs = {name: Program(make_cell(26, 60.0), states, 26) for name in ("fp32", "int8")}
    seconds = module.time_programs(programs)
    assert list(seconds) == ["fp32", "int8"]
    assert all(each > 0 for each in seconds.values())


def test_a_bundle_without_variants_is_fp32(tmp_path: Path) -> None:
    plain = write_bundle(tmp_path / "plain")
    assert load_bundle(plain).precision == load_bundle(plain, "fp32").precision == "fp32"
    with pytest.raises(BundleError, match=r"plain: has no int8 variant, only fp32"):
        load_bundle(plain, "int8")


def test_a_variant_that_runs_differently_here_is_not_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_seconds(monkeypatch, 1.0, 0.1)
    golden = json.loads((folder / "golden.int8.json").read_text())
    golden["sampled"][3] ^= 1
    add_variant(folder, (folder / "cell.int8.onnx").read_bytes(), json.dumps(golden).encode())

    with pytest.raises(BundleError, match=r"golden\.int8\.json: .* differs from the recorded one at step 3"):
        load_bundle(folder, "int8")
    bundle = load_bundle(folder)
    assert (bundle.precision, bundle.passed_over) == ("fp32", ("int8",))
    assert "int8 is not considered" in caplog.text


@pytest.mark.parametrize("name", ["cell.int8.onnx", "golden.int8.json"])
def test_a_damaged_variant_is_never_passed_over(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    for precision in ("auto", "int8"):
        with pytest.raises(BundleError, match=f"{name}: sha256 is"):
            load_bundle(folder, precision)
    assert load_bundle(folder, "fp32").precision == "fp32"


def make_network() -> tuple[onnx.ModelProto, list[State]]:
    """Make two gated layers over hidden states, by hand: h' = h + sigmoid(a) * (tanh(b) - h)."""
    generator = np.random.default_rng(0)
    values: dict[str, np.ndarray[Any, Any]] = {"table": generator.normal(0, 1, (V, 2 * H))}
    values |= {name: generator.normal(0, 0.3, (H, 2 * H)) for name in ("u0", "w1", "u1")}
    values |= {"b1": generator.normal(0, 0.3, 2 * H), "d": generator.normal(0, 0.6, (H, V)), "e": np.zeros(V)}
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["x0"]),
        helper.make_node("Gemm", ["h0", "u0", "x0"], ["a0"]),
        helper.make_node("Gemm", ["new_h0", "w1", "b1"], ["x1"]),
        helper.make_node("Gemm", ["h1", "u1", "x1"], ["a1"]),
        helper.make_node("Gemm", ["new_h1", "d", "e"], ["logits"]),
    ]
    for layer, place in ((1, 4), (0, 2)):
        nodes[place:place] = [
            helper.make_node("Split", [f"a{layer}"], [f"g{layer}", f"n{layer}"], axis=1, num_outputs=2),
            helper.make_node("Sigmoid", [f"g{layer}"], [f"z{layer}"]),
            helper.make_node("Tanh", [f"n{layer}"], [f"t{layer}"]),
            helper.make_node("Sub", [f"t{layer}", f"h{layer}"], [f"s{layer}"]),
            helper.make_node("Mul", [f"z{layer}", f"s{layer}"], [f"m{layer}"]),
            helper.make_node("Add", [f"h{layer}", f"m{layer}"], [f"new_h{layer}"]),
        ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "cell",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"]),
            *(helper.make_tensor_value_info(name, floats, ["batch", H]) for name in ("h0", "h1")),
        ],
        [
            helper.make_tensor_value_info("logits", floats, ["batch", V]),
            *(helper.make_tensor_value_info(name, floats, ["batch", H]) for name in ("new_h0", "new_h1")),
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model, [State(input=f"h{i}", output=f"new_h{i}", dtype="float32", shape=[H]) for i in range(2)]


def test_a_quantised_program_repeats_its_golden_run_among_any_neighbours() -> None:
    network, states = make_network()
    quantised = quantise_cell(network, states)
    onnx.checker.check_model(quantised, full_check=True)
    assert sum(node.op_type == "MatMulInteger" for node in quantised.graph.node) == 3
    golden = record_golden(Cell(quantised.SerializeToString(), states), [[1, 2, 3]], rounds=True)
    specs = [StateSpec(state.input, state.output, (H,), 0.0) for state in states]
    program = Program(quantised, specs, V)
    wanted = {0.0: list(golden.greedy), 1.0: list(golden.sampled)}
    for rows in (2, 7, 64):
        generator = np.random.default_rng(rows)
        forced = np.full((len(golden.prompt) + 199, rows), NOT_FORCED, np.int64)
        forced[:3] = generator.integers(0, V, (3, rows))
        forced[:3, -2:] = np.array(golden.prompt)[:, None]
        seeds = generator.integers(0, 1000, rows).astype(np.uint64)
        seeds[-2:] = golden.seed
        temperatures = [*generator.uniform(0.5, 2, rows - 2), 0.0, 1.0]
        batch = Batch(
            token=np.zeros(rows, np.int64),
            forced=forced,
            position=np.ones(rows, np.int64),
            seed=seeds,
            temperature=np.array(temperatures, np.float32)[:, None],
        )
        initial = generator.uniform(-1, 1, (rows, H * len(specs))).astype(np.float32)
        initial[-2:] = 0
        tokens = program.run(batch, initial).tokens[2:]
        assert {0.0: tokens[:, -2].tolist(), 1.0: tokens[:, -1].tolist()} == wanted


def test_operators_see_what_is_served(folder: Path) -> None:
    bundle = load_bundle(folder, "int8")
    metrics = Metrics([Engine([bundle], Settings())])
    numerics = bundle.host.numerics.hex()[:12]
    labels = {"model": "alphabet", "sha256": bundle.sha256, "precision": "int8", "numerics": numerics}
    assert metrics.registry.get_sample_value("unrolled_model_info", labels) == 1


def test_the_setting_is_one_of_three() -> None:
    assert Settings().precision == "auto"
    with pytest.raises(ValueError, match="precision"):
        Settings(precision="int4")


def test_the_golden_file_of_a_variant_is_json(folder: Path) -> None:
    network, states = make_network()
    golden = record_golden(Cell(network.SerializeToString(), states), [[0]])
    add_variant(folder, make_cell(26, 2.0).SerializeToString(), to_pretty_json(golden)[:-9])
    with pytest.raises(BundleError, match=r"golden\.int8\.json: "):
        load_bundle(folder, "int8")

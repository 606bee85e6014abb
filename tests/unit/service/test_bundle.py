"""A damaged bundle is refused, and the message names the file and the fault."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.support.alphabet import make_cell, write_bundle
from unrolled_service.errors import BundleError
from unrolled_service.models.bundle import load_bundle
from unrolled_service.models.probe import measure_numerics


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "alphabet")


def test_a_good_bundle_loads(folder: Path) -> None:
    bundle = load_bundle(folder)

    assert bundle.name == "alphabet"
    assert bundle.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert len(bundle.vocabulary) == 26


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and its checksum, so that the next check is reached."""
    (folder / name).write_bytes(content)
    edit(folder, lambda manifest: manifest["files"].update({name: hashlib.sha256(content).hexdigest()}))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flip(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def external(folder: Path) -> None:
    cell = onnx.load_model_from_string((folder / "cell.onnx").read_bytes())
    tensor = cell.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    rewrite(folder, "cell.onnx", cell.SerializeToString())


def unknown_operator(folder: Path) -> None:
    cell = onnx.load_model_from_string((folder / "cell.onnx").read_bytes())
    cell.graph.node[0].op_type = "Surprise"
    cell.graph.node[0].domain = "some.where"
    cell.opset_import.add(domain="some.where", version=1)
    rewrite(folder, "cell.onnx", cell.SerializeToString())


def other_run(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_text())
    golden["sampled"][7] ^= 1
    rewrite(folder, "golden.json", json.dumps(golden).encode())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: No such file"),
    "no cell": (lambda f: (f / "cell.onnx").unlink(), r"cell\.onnx: No such file"),
    "not json": (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json: "),
    "not text": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"), r"manifest\.json: "),
    "unknown field": (lambda f: edit(f, lambda m: m.update(surprise=1)), r"manifest\.json: .*surprise"),
    "wrong type": (lambda f: edit(f, lambda m: m.update(format="x")), r"manifest\.json: "),
    "other format": (lambda f: edit(f, lambda m: m.update(format=2)), r"format 2 is not 1"),
    "bad name": (lambda f: edit(f, lambda m: m.update(name="../x")), r"name is not"),
    "no task": (lambda f: edit(f, lambda m: m.pop("task")), r"task is not"),
    "one token": (lambda f: edit(f, lambda m: m.update(vocabulary=["a"])), r"fewer than 2"),
    "token twice": (lambda f: edit(f, lambda m: m.update(vocabulary=["a", "b", "a"])), r"a token twice"),
    "long token": (lambda f: edit(f, lambda m: m.update(vocabulary=["ab", "c"])), r"not one character"),
    "no states": (lambda f: edit(f, lambda m: m.update(states=[])), r"states has none"),
    "other dtype": (lambda f: edit(f, lambda m: m["states"][0].update(dtype="float16")), r"dtype"),
    "file elsewhere": (
        lambda f: edit(f, lambda m: m.update(variants=[{"precision": "int8", "cell": "../x", "golden": "y"}])),
        r"not beside the manifest",
    ),
    "no checksum": (lambda f: edit(f, lambda m: m["files"].pop("cell.onnx")), r"manifest says nothing"),
    "flipped cell": (lambda f: flip(f, "cell.onnx"), r"cell\.onnx: sha256 is"),
    "flipped golden": (lambda f: flip(f, "golden.json"), r"golden\.json: sha256 is"),
    "no onnx": (lambda f: rewrite(f, "cell.onnx", b"hello"), r"cell\.onnx: not a valid ONNX model"),
    "empty onnx": (lambda f: rewrite(f, "cell.onnx", b""), r"cell\.onnx: IR version 0 is not"),
    "external data": (external, r"cell\.onnx: initializer 'one' refers to data outside"),
    "unknown operator": (unknown_operator, r"cell\.onnx: "),
    "other width": (
        lambda f: rewrite(f, "cell.onnx", make_cell(25, 60.0).SerializeToString()),
        r"outputs are .* the manifest says",
    ),
    "other states": (lambda f: edit(f, lambda m: m["states"][0].update(input="h1")), r"inputs are"),
    "empty golden": (lambda f: rewrite(f, "golden.json", b"{}"), r"golden\.json: is empty"),
    "token outside": (
        lambda f: rewrite(f, "golden.json", b'{"prompt": [26], "greedy": [1], "sampled": [1]}'),
        r"golden\.json: has a token",
    ),
    "uneven golden": (
        lambda f: rewrite(f, "golden.json", b'{"prompt": [0], "greedy": [1, 2], "sampled": [1]}'),
        r"golden\.json: .*as long",
    ),
    "other run": (other_run, r"differs from the recorded one at step 7"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(folder: Path, case: str) -> None:
    damage, message = DAMAGE[case]
    damage(folder)

    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_the_same_arithmetic_has_the_same_fingerprint(tmp_path: Path) -> None:
    first, second = (load_bundle(write_bundle(tmp_path / name)) for name in ("one", "two"))

    fingerprints = {measure_numerics(first.program, 26) for _ in range(3)}
    assert fingerprints == {first.host.numerics} == {second.host.numerics}
    assert len(first.host.numerics) == 32


@pytest.mark.parametrize("sharpness", [2.0, 3.0])
def test_other_weights_have_another_fingerprint(tmp_path: Path, sharpness: float) -> None:
    sharp = load_bundle(write_bundle(tmp_path / "sharp"))
    other = load_bundle(write_bundle(tmp_path / "other", sharpness=sharpness))

    assert measure_numerics(other.program, 26) != sharp.host.numerics


def test_a_fingerprint_notices_the_last_bit_of_a_weight(tmp_path: Path) -> None:
    first = load_bundle(write_bundle(tmp_path / "first", sharpness=2.0))
    second = load_bundle(write_bundle(tmp_path / "second", sharpness=float(np.nextafter(np.float32(2), np.float32(3)))))

    assert measure_numerics(first.program, 26) != measure_numerics(second.program, 26)

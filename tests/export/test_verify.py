"""`unrolled verify` passes what is whole and names what is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from unrolled_export.cli import verify
from unrolled_export.verification import verify_bundle

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from unrolled_export.cli import verify; verify()"


@pytest.fixture
def bundle(hello_bundles: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(hello_bundles["lstm"], tmp_path / "bundle"))


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _sign(bundle: Path) -> None:
    digests = {name: sha256((bundle / name).read_bytes()).hexdigest() for name in ("cell.onnx", "golden.json")}
    _edit(bundle / "manifest.json", lambda content: content.update(files=digests))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x20
    path.write_bytes(content)


def _differing(bundle: Path) -> dict[str, str]:
    return {check.name: check.detail for check in verify_bundle(bundle).checks if not check.is_ok}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_whole_bundle_passes(hello_bundles: dict[str, Path], cell: str) -> None:
    result = CliRunner().invoke(verify, [str(hello_bundles[cell])])
    assert result.exit_code == 0
    assert "DIFFERS" not in result.output
    assert sha256((hello_bundles[cell] / "manifest.json").read_bytes()).hexdigest() in result.output


def test_verify_needs_no_torch(bundle: Path) -> None:
    for wanted in (0, 1):
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, str(bundle)], capture_output=True, text=True, check=False
        )
        assert result.returncode == wanted, result.stderr
        assert ("DIFFERS" in result.stdout) == bool(wanted)
        _flip(bundle / "cell.onnx")


@pytest.mark.parametrize("name", ["cell.onnx", "golden.json"])
def test_flipped_byte_is_named(bundle: Path, name: str) -> None:
    _flip(bundle / name)
    assert list(_differing(bundle)) == [f"{name} checksum"]


@pytest.mark.parametrize("name", ["cell.onnx", "golden.json", "manifest.json"])
def test_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    ((check, detail),) = _differing(bundle).items()
    assert check.startswith(name)
    assert "missing" in detail


def test_link_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "cell.onnx").rename(tmp_path / "elsewhere.onnx")
    (bundle / "cell.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert list(_differing(bundle)) == ["cell.onnx checksum"]


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"surprise": 1}, "manifest.json", "surprise"),
        ({"format": 2}, "manifest.json", "format is 2"),
        ({"name": "No Name"}, "manifest.json", "cannot name"),
        ({"vocabulary": ["a", "a", "b", "c"]}, "manifest.json", "different"),
        ({"files": {}}, "manifest.json", "does not name cell.onnx, golden.json"),
        ({"files": {"../x": "0" * 64}}, "manifest.json", "not a file name"),
        ({"name": "another"}, "manifest in the graph", "differ in name"),
        ({"vocabulary": ["h", "e", "l", "o"]}, "manifest in the graph", "differ in vocabulary"),
        ({"vocabulary": ["h", "e", "l"]}, "graph", "output logits is not [batch, 3]"),
    ],
)
def test_edited_manifest_is_named(bundle: Path, change: dict[str, object], check: str, words: str) -> None:
    _edit(bundle / "manifest.json", lambda content: content.update(change))
    assert words in _differing(bundle)[check]


def test_state_of_another_shape_is_named(bundle: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["states"][1]["shape"] = [33]

    _edit(bundle / "manifest.json", change)
    assert "input c0 is not [batch, 33]" in _differing(bundle)["graph"]


def test_changed_weight_behind_right_checksums_is_named(bundle: Path) -> None:
    model = onnx.load(bundle / "cell.onnx")
    weight = next(item for item in model.graph.initializer if item.name == "decoder.bias")
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values + np.array([9, 0, 0, 0], np.float32), weight.name))
    onnx.save(model, bundle / "cell.onnx")
    _sign(bundle)
    differing = _differing(bundle)
    assert differing["golden logits"].startswith("largest difference 9")


def test_changed_golden_token_behind_right_checksums_is_named(bundle: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["sampled"][2] = (content["sampled"][2] + 1) % 4

    wanted = json.loads((bundle / "golden.json").read_text())["sampled"][2]
    _edit(bundle / "golden.json", change)
    _sign(bundle)
    assert _differing(bundle) == {"golden sampled run": f"step 2: expected token {(wanted + 1) % 4}, got {wanted}"}


def test_weights_outside_the_file_are_refused(bundle: Path) -> None:
    model = onnx.load(bundle / "cell.onnx")
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "manifest.json")
    tensor.ClearField("raw_data")
    (bundle / "cell.onnx").write_bytes(model.SerializeToString())
    _sign(bundle)
    assert "outside" in _differing(bundle)["graph"] or "external" in _differing(bundle)["graph"]

"""The alphabet cell: a hand-made ONNX cell whose text can be worked out on paper.

Its state counts the steps; its likeliest next token is ``(token + steps) mod V``. Any leak between
sessions, lost step or wrong state shows as a wrong letter, without torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CERTAIN = 110.0  # what is exp(-110) beside it is 0 in float32: no draw, not even 0 itself, takes another letter
GOLDEN_STEPS = 20


def greedy_text(history: str, length: int, *, letters: str = LETTERS) -> str:
    """Return what the cell says next, greedily, after it took a history from the zero state."""
    token, steps = letters.index(history[-1]), len(history)
    said = ""
    for _ in range(length):
        token = (token + steps) % len(letters)
        steps += 1
        said += letters[token]
    return said


def make_cell(vocabulary_size: int, sharpness: float, metadata: str = "") -> onnx.ModelProto:
    """Return the cell; its logits are ``sharpness`` at the next token and 0 elsewhere."""
    nodes = [
        helper.make_node("Add", ["h0", "one"], ["new_h0"]),
        helper.make_node("Squeeze", ["new_h0", "axis"], ["steps"]),
        helper.make_node("Cast", ["steps"], ["steps_i"], to=TensorProto.INT64),
        helper.make_node("Add", ["token", "steps_i"], ["sum"]),
        helper.make_node("Mod", ["sum", "size"], ["next"]),
        helper.make_node("OneHot", ["next", "size", "off_on"], ["logits"]),
    ]
    values = {
        "one": np.float32(1),
        "axis": np.array([1], np.int64),
        "size": np.int64(vocabulary_size),
        "off_on": np.array([0, sharpness], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "alphabet",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", vocabulary_size]),
            helper.make_tensor_value_info("new_h0", TensorProto.FLOAT, ["batch", 1]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if metadata:
        helper.set_model_props(model, {"unrolled.manifest": metadata})
    return model


def write_bundle(
    folder: Path, *, name: str = "alphabet", letters: Sequence[str] = LETTERS, sharpness: float = CERTAIN
) -> Path:
    """Write a bundle of the alphabet cell and return its folder.

    With less than ``CERTAIN`` sharpness the sampled text differs from seed to seed.
    """
    manifest = describe_alphabet(name, letters)
    cell = make_cell(len(letters), sharpness, json.dumps(manifest, sort_keys=True)).SerializeToString()
    golden = {
        "prompt": [0],
        "seed": 0,
        "greedy": [letters.index(letter) for letter in greedy_text(letters[0], GOLDEN_STEPS, letters="".join(letters))],
        "sampled": sampled_tokens(0, GOLDEN_STEPS, seed=0, vocabulary_size=len(letters), sharpness=sharpness),
    }
    files = {"cell.onnx": cell, "golden.json": json.dumps(golden).encode()}
    return write_files(folder, manifest, files)


def describe_alphabet(name: str, letters: Sequence[str]) -> dict[str, Any]:
    """Return the manifest of a bundle of the cell, but for its files."""
    return {
        "format": 1,
        "name": name,
        "task": "TASK_GENERATE",
        "description": "next = (token + steps) mod V",
        "architecture": {"cell": "alphabet", "layers": 1, "hidden_size": 1},
        "vocabulary": list(letters),
        "states": [{"input": "h0", "output": "new_h0", "dtype": "float32", "shape": [1]}],
    }


def write_files(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write files and a manifest that lists them; return the folder."""
    listed = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    folder.mkdir(parents=True, exist_ok=True)
    manifest_bytes = json.dumps({**manifest, "files": listed}, indent=2).encode()
    for file, content in {**files, "manifest.json": manifest_bytes}.items():
        (folder / file).write_bytes(content)
    return folder


def sampled_tokens(token: int, length: int, *, seed: int, vocabulary_size: int, sharpness: float) -> list[int]:
    """Return what the cell samples at temperature 1 after one token from the zero state."""
    said = []
    for steps in range(1, length + 1):
        masses = np.ones(vocabulary_size)
        masses[(token + steps) % vocabulary_size] = np.exp(sharpness)
        cumulative = masses.cumsum() / masses.sum()
        token = int((cumulative <= plain_uniform(seed, steps)).sum())
        said.append(token)
    return said


def plain_uniform(seed: int, position: int) -> float:
    """Return the uniform number of a seed and a position, in plain integers."""
    golden_ratio, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    key = mix((seed + golden_ratio) & mask)
    return (mix((key + position * golden_ratio) & mask) >> 40) * 2.0**-24

"""A bundle: read once, checked, and replayed before it is served.

The files are read into memory, hashed, and used from there; nothing is looked up by path afterwards.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto

from unrolled.v1.bundle_pb2 import TASK_GENERATE, Golden, Manifest
from unrolled_service.arena import StateSpec
from unrolled_service.errors import BundleError
from unrolled_service.program import NOT_FORCED, Batch, Program, ProgramError
from unrolled_service.sampling import Sampling
from unrolled_service.vocabulary import Vocabulary

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_M = TypeVar("_M", bound=Message)
_MANIFEST, _CELL, _GOLDEN = "manifest.json", "cell.onnx", "golden.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has proved itself.

    Attributes:
        name: what callers ask for.
        sha256: identity, of the manifest file, which names the sha256 of the others.
        manifest: as written.
        vocabulary: its tokens.
        states: its state tensors.
        program: its cell with the sampler, ready to run.
    """

    name: str
    sha256: str
    manifest: Manifest
    vocabulary: Vocabulary
    states: tuple[StateSpec, ...]
    program: Program


def load_bundle(folder: Path) -> Bundle:
    """Read, check and replay a bundle.

    Raises:
        BundleError: naming the file and what is wrong with it.
    """
    manifest_bytes = _read(folder, _MANIFEST)
    manifest = _parse(folder, _MANIFEST, manifest_bytes, Manifest())
    _check_manifest(folder, manifest)
    cell_bytes = _read_listed(folder, _CELL, manifest)
    golden = _parse(folder, _GOLDEN, _read_listed(folder, _GOLDEN, manifest), Golden())
    states = tuple(StateSpec(state.input, state.output, tuple(state.shape), state.initial) for state in manifest.states)
    vocabulary = Vocabulary(manifest.vocabulary)
    _check_golden(folder, golden, len(vocabulary))
    cell = _parse_cell(folder, cell_bytes, states, len(vocabulary))
    try:
        program = Program(cell, states, len(vocabulary))
    except ProgramError as error:
        raise BundleError(f"{folder / _CELL}: {error}") from error
    _replay(folder, program, states, golden)
    sha256 = hashlib.sha256(manifest_bytes).hexdigest()
    return Bundle(manifest.name, sha256, manifest, vocabulary, states, program)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / name}: {error.strerror}") from error


def _read_listed(folder: Path, name: str, manifest: Manifest) -> bytes:
    content = _read(folder, name)
    listed, found = manifest.files[name], hashlib.sha256(content).hexdigest()
    if listed != found:
        raise BundleError(f"{folder / name}: sha256 is {found}, the manifest says {listed or 'nothing'}")
    return content


def _parse(folder: Path, name: str, content: bytes, message: _M) -> _M:
    try:
        return json_format.Parse(content, message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / name}: {error}") from error


def _check_manifest(folder: Path, manifest: Manifest) -> None:
    faults = {
        f"format {manifest.format} is not {FORMAT}": manifest.format != FORMAT,
        "name is not 1 to 128 of a-z 0-9 . _ -": not _NAME.fullmatch(manifest.name),
        "task is not TASK_GENERATE": manifest.task != TASK_GENERATE,
        "vocabulary has fewer than 2 tokens": len(manifest.vocabulary) < 2,
        "vocabulary has a token that is not one character": any(len(token) != 1 for token in manifest.vocabulary),
        "vocabulary has a token twice": len(set(manifest.vocabulary)) < len(manifest.vocabulary),
        "states has none": not manifest.states,
        "states has a dtype other than float32": any(state.dtype != "float32" for state in manifest.states),
    }
    for fault, is_present in faults.items():
        if is_present:
            raise BundleError(f"{folder / _MANIFEST}: {fault}")


def _parse_cell(folder: Path, content: bytes, states: Sequence[StateSpec], vocabulary_size: int) -> onnx.ModelProto:
    """Return the cell if it is a self-contained graph with the signature that the manifest promises."""
    try:
        cell = onnx.load_model_from_string(content)
        onnx.checker.check_model(cell)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{folder / _CELL}: not a valid ONNX model: {error}") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in cell.graph.initializer):
        raise BundleError(f"{folder / _CELL}: refers to data outside the file")
    inputs = {"token": (TensorProto.INT64, ())} | {state.input: (TensorProto.FLOAT, state.shape) for state in states}
    outputs = {"logits": (TensorProto.FLOAT, (vocabulary_size,))} | {
        state.output: (TensorProto.FLOAT, state.shape) for state in states
    }
    for kind, expected, found in (
        ("inputs", inputs, _signature(cell.graph.input)),
        ("outputs", outputs, _signature(cell.graph.output)),
    ):
        if expected != found:
            raise BundleError(f"{folder / _CELL}: {kind} are {found}, the manifest says {expected}")
    return cell


def _signature(values: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return element type and extents after the batch axis, by name."""
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(extent.dim_value for extent in value.type.tensor_type.shape.dim[1:]),
        )
        for value in values
    }


def _check_golden(folder: Path, golden: Golden, vocabulary_size: int) -> None:
    if not (golden.prompt and golden.greedy and golden.sampled):
        raise BundleError(f"{folder / _GOLDEN}: is empty")
    if len(golden.greedy) != len(golden.sampled):
        raise BundleError(f"{folder / _GOLDEN}: greedy is not as long as sampled")
    if max(*golden.prompt, *golden.greedy, *golden.sampled) >= vocabulary_size:
        raise BundleError(f"{folder / _GOLDEN}: has a token outside the vocabulary")


def _replay(folder: Path, program: Program, states: Sequence[StateSpec], golden: Golden) -> None:
    """Run the golden run in two rows, one greedy and one sampled, and compare every token."""
    prompt, expected = list(golden.prompt), np.array([golden.greedy, golden.sampled], np.int64).T
    forced = np.full((len(prompt) + len(expected) - 1, 2), NOT_FORCED, np.int64)
    forced[: len(prompt)] = np.array(prompt, np.int64)[:, None]
    batch = Batch(
        token=np.zeros(2, np.int64),
        forced=forced,
        position=np.ones(2, np.int64),
        seed=np.full(2, golden.seed, np.uint64),
        sampling=(Sampling(temperature=0.0), Sampling()),
    )
    zeros = [np.full((2, *state.shape), state.initial, np.float32) for state in states]
    differs = program.run(batch, zeros).tokens[len(prompt) - 1 :] != expected
    if differs.any():
        step = int(differs.any(axis=1).argmax())
        raise BundleError(f"{folder / _GOLDEN}: this machine's run differs from the recorded one at step {step}")

"""A bundle: read once, checked, and replayed before it is served.

The files are read into memory, hashed, and used from there; nothing is looked up by path afterwards.
"""

import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto

from unrolled.v1.bundle_pb2 import TASK_GENERATE, Golden, Manifest
from unrolled_service.arena import StateSpec
from unrolled_service.errors import BundleError
from unrolled_service.numerics import FORCED_STEPS, ROWS, SAMPLED_STEPS, SEED, fingerprint, make_probe
from unrolled_service.program import NOT_FORCED, Batch, Extras, Program
from unrolled_service.runtime import ProgramError
from unrolled_service.sampling import Sampling
from unrolled_service.settings import Precision
from unrolled_service.snapshot import Host
from unrolled_service.vocabulary import Vocabulary

FORMAT = 1
_TRIALS, _TRIAL_ROWS, _TRIAL_STEPS = 5, 64, 16
_WORTHWHILE = 1.2
_log = logging.getLogger(__name__)
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
        precision: which form of the cell that is: "fp32", or that of a variant.
        host: what continues a session's state, for snapshots.
    """

    name: str
    sha256: str
    manifest: Manifest
    vocabulary: Vocabulary
    states: tuple[StateSpec, ...]
    program: Program
    precision: str
    host: Host


class RunDiffers(BundleError):
    """A golden run that this machine does not repeat."""


def load_bundle(folder: Path, precision: Precision = "auto") -> Bundle:
    """Read, check and replay a bundle.

    Args:
        folder: where it lies.
        precision: "fp32" or "int8" for that form of the cell; "auto" for the one that is faster here.

    Raises:
        BundleError: naming the file and what is wrong with it, or that there is no such form.
    """
    manifest_bytes = _read(folder, _MANIFEST)
    manifest = _parse(folder, _MANIFEST, manifest_bytes, Manifest())
    _check_manifest(folder, manifest)
    states = tuple(StateSpec(state.input, state.output, tuple(state.shape), state.initial) for state in manifest.states)
    chosen, program = _choose(folder, manifest, states, precision)
    sha256 = hashlib.sha256(manifest_bytes).hexdigest()
    size = len(manifest.vocabulary)
    numerics = measure_numerics(program, size)
    host = Host(manifest.name, bytes.fromhex(sha256), chosen, numerics, len(program.initial), size)
    return Bundle(manifest.name, sha256, manifest, Vocabulary(manifest.vocabulary), states, program, chosen, host)


def measure_numerics(program: Program, vocabulary_size: int) -> bytes:
    """Return the fingerprint of the arithmetic that a program runs on here: 32 bytes."""
    forced = np.full((FORCED_STEPS + SAMPLED_STEPS, ROWS), NOT_FORCED, np.int64)
    forced[:FORCED_STEPS] = make_probe(vocabulary_size)
    batch = Batch(
        token=np.zeros(ROWS, np.int64),
        forced=forced,
        position=np.ones(ROWS, np.int64),
        seed=np.full(ROWS, SEED, np.uint64),
        temperature=np.ones((ROWS, 1), np.float32),
        extras=Extras([Sampling()] * ROWS, target=np.full(forced.shape, -1, np.int64), described=1),
    )
    outcome = program.run(batch, np.tile(program.initial, (ROWS, 1)))
    described = [outcome.descriptions.chosen] if outcome.descriptions else []
    return fingerprint([outcome.tokens, *described, outcome.state])


def _choose(folder: Path, manifest: Manifest, states: Sequence[StateSpec], precision: Precision) -> tuple[str, Program]:
    """Return the form of the cell that is asked for. In doubt it is fp32: the others must be clearly faster."""
    files = {"fp32": (_CELL, _GOLDEN)} | {form.precision: (form.cell, form.golden) for form in manifest.variants}
    if precision != "auto":
        if precision not in files:
            raise BundleError(f"{folder}: has no {precision} variant, only {', '.join(files)}")
        return precision, _prove(folder, manifest, states, *files[precision])
    programs = {"fp32": _prove(folder, manifest, states, *files.pop("fp32"))}
    for name, pair in files.items():
        try:
            programs[name] = _prove(folder, manifest, states, *pair)
        except RunDiffers as error:
            _log.warning("%s; %s is not considered", error, name)
    if len(programs) == 1:
        return "fp32", programs["fp32"]
    seconds = time_programs(programs)
    fastest = min(seconds, key=seconds.__getitem__)
    chosen = fastest if seconds["fp32"] >= _WORTHWHILE * seconds[fastest] else "fp32"
    steps = ", ".join(f"{name} {1e3 * each / _TRIAL_STEPS:.3f} ms" for name, each in seconds.items())
    _log.info("%s: serving %s; a step of %d rows takes %s", folder, chosen, _TRIAL_ROWS, steps)
    return chosen, programs[chosen]


def time_programs(programs: Mapping[str, Program]) -> dict[str, float]:
    """Return the median seconds of a short run of each, measured in turns."""
    batch = Batch(
        token=np.zeros(_TRIAL_ROWS, np.int64),
        forced=np.full((_TRIAL_STEPS, _TRIAL_ROWS), NOT_FORCED, np.int64),
        position=np.ones(_TRIAL_ROWS, np.int64),
        seed=np.arange(_TRIAL_ROWS, dtype=np.uint64),
        temperature=np.ones((_TRIAL_ROWS, 1), np.float32),
    )
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_TRIALS + 1):  # the first one warms up
        for name, program in programs.items():
            started = time.perf_counter()
            program.run(batch, np.tile(program.initial, (_TRIAL_ROWS, 1)))
            seconds[name].append(time.perf_counter() - started)
    return {name: median(each[1:]) for name, each in seconds.items()}


def _prove(folder: Path, manifest: Manifest, states: Sequence[StateSpec], cell_name: str, golden_name: str) -> Program:
    """Return the program of one form of the cell after its golden run."""
    size = len(manifest.vocabulary)
    cell_bytes = _read_listed(folder, cell_name, manifest)
    golden = _parse(folder, golden_name, _read_listed(folder, golden_name, manifest), Golden())
    _check_golden(folder / golden_name, golden, size)
    cell = _parse_cell(folder / cell_name, cell_bytes, states, size)
    try:
        program = Program(cell, states, size)
    except ProgramError as error:
        raise BundleError(f"{folder / cell_name}: {error}") from error
    _replay(folder / golden_name, program, golden)
    return program


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
        "task is not TASK_GENERATE, which is all that this server does": manifest.task != TASK_GENERATE,
        "is not plain generation of tokens, which is all that this server does": any(
            manifest.HasField(name) for name in ("input", "output", "condition", "encoder", "feedback")
        ),
        "vocabulary has fewer than 2 tokens": len(manifest.vocabulary) < 2,
        "vocabulary has a token that is not one character": any(len(token) != 1 for token in manifest.vocabulary),
        "vocabulary has a token twice": len(set(manifest.vocabulary)) < len(manifest.vocabulary),
        "states has none": not manifest.states,
        "variants has a file that is not beside the manifest": any(
            Path(name).name != name for form in manifest.variants for name in (form.cell, form.golden)
        ),
        "states has a dtype other than float32": any(state.dtype != "float32" for state in manifest.states),
    }
    for fault, is_present in faults.items():
        if is_present:
            raise BundleError(f"{folder / _MANIFEST}: {fault}")


def _parse_cell(file: Path, content: bytes, states: Sequence[StateSpec], vocabulary_size: int) -> onnx.ModelProto:
    """Return the cell if it is a self-contained graph with the signature that the manifest promises."""
    try:
        cell = onnx.load_model_from_string(content)
        onnx.checker.check_model(cell)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{file}: not a valid ONNX model: {error}") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in cell.graph.initializer):
        raise BundleError(f"{file}: refers to data outside the file")
    inputs = {"token": (TensorProto.INT64, ())} | {state.input: (TensorProto.FLOAT, state.shape) for state in states}
    outputs = {"logits": (TensorProto.FLOAT, (vocabulary_size,))} | {
        state.output: (TensorProto.FLOAT, state.shape) for state in states
    }
    for kind, expected, found in (
        ("inputs", inputs, _signature(cell.graph.input)),
        ("outputs", outputs, _signature(cell.graph.output)),
    ):
        if expected != found:
            raise BundleError(f"{file}: {kind} are {found}, the manifest says {expected}")
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


def _check_golden(file: Path, golden: Golden, vocabulary_size: int) -> None:
    if not (golden.prompt and golden.greedy and golden.sampled):
        raise BundleError(f"{file}: is empty")
    if len(golden.greedy) != len(golden.sampled):
        raise BundleError(f"{file}: greedy is not as long as sampled")
    if max(*golden.prompt, *golden.greedy, *golden.sampled) >= vocabulary_size:
        raise BundleError(f"{file}: has a token outside the vocabulary")


def _replay(file: Path, program: Program, golden: Golden) -> None:
    """Run the golden run in two rows, one greedy and one sampled, and compare every token."""
    prompt, expected = list(golden.prompt), np.array([golden.greedy, golden.sampled], np.int64).T
    forced = np.full((len(prompt) + len(expected) - 1, 2), NOT_FORCED, np.int64)
    forced[: len(prompt)] = np.array(prompt, np.int64)[:, None]
    batch = Batch(
        token=np.zeros(2, np.int64),
        forced=forced,
        position=np.ones(2, np.int64),
        seed=np.full(2, golden.seed, np.uint64),
        temperature=np.array([[0.0], [1.0]], np.float32),
    )
    differs = program.run(batch, np.tile(program.initial, (2, 1))).tokens[len(prompt) - 1 :] != expected
    if differs.any():
        step = int(differs.any(axis=1).argmax())
        raise RunDiffers(f"{file}: this machine's run differs from the recorded one at step {step}")

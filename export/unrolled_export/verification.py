"""Whether a bundle is what it says: checksums, manifest, graph, and the golden run. Torch-free.

Every file is read once; what was hashed is what is parsed and run. No external data is ever loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from unrolled.v1.bundle_pb2 import Golden, Manifest
from unrolled_export.bundle import digest, read_bundle_file
from unrolled_export.errors import BundleError
from unrolled_export.interface import check_interface, check_weights
from unrolled_export.manifest import (
    EXAMPLES_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    METADATA_KEY,
    parse_examples,
    parse_golden,
    parse_manifest,
    to_compact_json,
)
from unrolled_export.player import Player
from unrolled_export.replay import GREEDY, Cell, Drawing, generate
from unrolled_export.runs import check_runs
from unrolled_export.shape import CELL_FILE, Signature, describe_graphs, is_plain


@dataclass(frozen=True)
class Check:
    """Hold one question and its answer.

    Attributes:
        name: what was looked at.
        detail: what was found; where it differs, what differs.
        is_ok: whether it is as it should be.
    """

    name: str
    detail: str
    is_ok: bool


@dataclass
class Verification:
    """Hold the answers so far.

    Attributes:
        checks: in the order they were made. A check that needs what another one found damaged is not made.
        identity: sha256 of manifest.json, when it could be read.
    """

    checks: list[Check] = field(default_factory=list)
    identity: str = ""

    @property
    def is_ok(self) -> bool:
        """Tell whether every check is as it should be."""
        return all(check.is_ok for check in self.checks)

    def make(self, name: str, question: Callable[[], str]) -> bool:
        """Ask one question; a `BundleError` is its negative answer."""
        try:
            self.checks.append(Check(name, question(), True))
        except BundleError as error:
            self.checks.append(Check(name, str(error), False))
        return self.checks[-1].is_ok


def verify_bundle(folder: Path) -> Verification:
    """Check everything in the bundle that its manifest vouches for."""
    verification = Verification()
    content: dict[str, bytes] = {}
    manifest = Manifest()

    def read_manifest() -> str:
        data = read_bundle_file(folder, MANIFEST_FILE)
        verification.identity = digest(data)
        manifest.CopyFrom(parse_manifest(data))
        named = {name for variant in manifest.variants for name in (variant.cell, variant.golden)}
        missing = {*describe_graphs(manifest), GOLDEN_FILE, *named} - set(manifest.files)
        if missing:
            raise BundleError(f"{MANIFEST_FILE}: files does not name {', '.join(sorted(missing))}")
        precisions = "".join(f", {variant.precision}" for variant in manifest.variants)
        return f"{manifest.name}, {len(manifest.vocabulary)} tokens, {len(manifest.states)} states, fp32{precisions}"

    if not verification.make(MANIFEST_FILE, read_manifest):
        return verification
    for name, wanted in sorted(manifest.files.items()):
        verification.make(f"{name} checksum", partial(_check_digest, folder, name, wanted, content))
    if not is_plain(manifest):
        _verify_shape(verification, content, manifest)
        return verification
    cells = {"": (CELL_FILE, GOLDEN_FILE)}
    cells |= {f"{variant.precision} ": (variant.cell, variant.golden) for variant in manifest.variants}
    for prefix, files in cells.items():
        _verify_cell(verification, prefix, files, content, manifest)
    return verification


def _verify_cell(
    verification: Verification,
    prefix: str,
    files: tuple[str, str],
    content: Mapping[str, bytes],
    manifest: Manifest,
) -> None:
    """Check a cell and its golden run, as far as their two files are whole and thus in `content`."""
    cell_file, golden_file = files
    model, golden = onnx.ModelProto(), Golden()

    def read_golden() -> str:
        golden.CopyFrom(parse_golden(content[golden_file], manifest, golden_file))
        return f"{len(golden.prompt)} + {len(golden.greedy)} greedy, {len(golden.sampled)} sampled tokens"

    def check_logits() -> str:
        return _check_logits(Cell(content[cell_file], manifest.states), golden)

    def read_graph() -> str:
        return _read_graph(content[cell_file], cell_file, describe_graphs(manifest)[CELL_FILE], model)

    if not (cell_file in content and verification.make(f"{prefix}graph", read_graph)):
        return
    verification.make(f"{prefix}manifest in the graph", lambda: _check_metadata(model, manifest))
    if not (golden_file in content and verification.make(golden_file, read_golden)):
        return
    if not verification.make(f"{prefix}golden logits", check_logits):
        return
    cell = Cell(content[cell_file], manifest.states)
    for name, tokens, drawing in (("greedy", golden.greedy, GREEDY), ("sampled", golden.sampled, Drawing(golden.seed))):
        verification.make(f"{prefix}golden {name} run", partial(_check_run, cell, golden, list(tokens), drawing))


def _verify_shape(verification: Verification, content: Mapping[str, bytes], manifest: Manifest) -> None:
    """Check the graphs of any other shape, each as far as it is whole, and the golden runs of all together."""
    graphs = describe_graphs(manifest)
    is_whole = set(graphs) <= set(content)
    for name, signature in graphs.items():
        model = onnx.ModelProto()
        if name in content and verification.make(name, partial(_read_graph, content[name], name, signature, model)):
            verification.make(f"manifest in {name}", partial(_check_metadata, model, manifest))
        else:
            is_whole = False
    if EXAMPLES_FILE in content:
        verification.make(
            EXAMPLES_FILE, lambda: f"{len(parse_examples(content[EXAMPLES_FILE]).examples)} held-out items"
        )

    def repeat() -> str:
        golden = parse_golden(content[GOLDEN_FILE], manifest)
        return check_runs(Player(manifest, {name: content[name] for name in graphs}), golden)

    if is_whole and GOLDEN_FILE in content:
        verification.make("golden runs", repeat)


def _check_digest(folder: Path, name: str, wanted: str, content: dict[str, bytes]) -> str:
    data = read_bundle_file(folder, name)
    found = digest(data)
    if found != wanted:
        raise BundleError(f"sha256 is {found[:16]}…, the manifest says {wanted[:16]}…")
    content[name] = data
    return f"sha256 {found[:16]}…, {len(data):,} bytes"


def _read_graph(content: bytes, name: str, signature: Signature, model: onnx.ModelProto) -> str:
    try:
        model.ParseFromString(content)
        check_weights(model)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{name} is not a valid graph: {str(error).strip().splitlines()[0]}") from error
    return check_interface(model, signature)


def _check_metadata(model: onnx.ModelProto, manifest: Manifest) -> str:
    copies = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(copies) != 1:
        raise BundleError(f"{METADATA_KEY} is in the metadata {len(copies)} times, not once")
    if copies[0] != to_compact_json(manifest):
        lone = parse_manifest(copies[0].encode())
        names = [item.name for item in Manifest.DESCRIPTOR.fields if item.name != "files"]
        differing = [name for name in names if getattr(lone, name) != getattr(manifest, name)]
        raise BundleError(f"the copy and {MANIFEST_FILE} differ in {', '.join(differing) or 'their spelling'}")
    return f"equals {MANIFEST_FILE} without its files"


def _check_logits(cell: Cell, golden: Golden) -> str:
    given = cell.read(np.array(golden.prompt, np.int64)[:, None])[-1, 0]
    difference = float(np.abs(given - np.array(golden.logits, np.float32)).max())
    if not difference <= golden.tolerance:
        raise BundleError(f"largest difference {difference:.3g}, allowed {golden.tolerance:g}")
    return f"largest difference {difference:.3g}, allowed {golden.tolerance:g}"


def _check_run(cell: Cell, golden: Golden, wanted: list[int], drawing: Drawing) -> str:
    for step, choice in enumerate(generate(cell, golden.prompt, len(wanted), drawing)):
        if choice.token != wanted[step]:
            raise BundleError(f"step {step}: expected token {wanted[step]}, got {choice.token}")
    return f"{len(wanted)} tokens equal"

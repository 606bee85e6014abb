"""A bundle of any shape but plain generation, from an author's own modules: a cell and what stands around it.

1. Every module is traced and cleaned to a reproducible graph.
2. The graphs in onnxruntime are compared, together and over whole sequences, with the modules and any other oracle.
3. Golden runs are recorded from held-out items.
4. The manifest goes into the metadata of every graph, and the folder appears, complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import Message
from torch import nn

from unrolled.v1.bundle_pb2 import Examples, Manifest
from unrolled_export.agreement import FeedReading, check_agreement, stepped_together
from unrolled_export.authoring import count_parameters
from unrolled_export.bundle import check_place, write_bundle
from unrolled_export.errors import BundleError, CellError
from unrolled_export.graph import trace
from unrolled_export.manifest import (
    EXAMPLES_FILE,
    FORMAT,
    GOLDEN_FILE,
    MANIFEST_FILE,
    check_name,
    parse_manifest,
    to_pretty_json,
)
from unrolled_export.player import Player
from unrolled_export.runs import record_runs
from unrolled_export.sealing import CARD_FILE, seal, to_bytes
from unrolled_export.shape import CELL_FILE, describe_graphs, is_plain

CardWriter = Callable[[Manifest, Mapping[str, int]], str]
"""Writes the model card from the manifest and the sizes of the bundle's files in bytes."""


def export_shape(
    modules: Mapping[str, nn.Module],
    manifest: Manifest,
    examples: Examples,
    *,
    name: str,
    output: Path,
    oracles: Mapping[str, FeedReading] | None = None,
    write_card: CardWriter | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> Manifest:
    """Write the bundle of any shape but plain generation.

    Args:
        modules: by the file that each one becomes, a pure function of the tensors that `shape.describe_graphs`
            names, in their order: "cell.onnx", and as the manifest asks "condition.onnx", "encoder.onnx",
            "bridge.onnx".
        manifest: task, ports, states and what else describes the shape; not changed.
        examples: held-out items, at least one: the golden runs are made of the first, and whoever has the bundle
            can measure it on all.
        name: what callers will ask for.
        output: the bundle's folder, made here.
        oracles: further implementations to compare with, by the name an error should give them.
        write_card: writes README.md; a short card where omitted.
        extra_files: files beside the bundle's own, outside its identity.
        force: replace a bundle that is there.

    Returns:
        The manifest as written.

    Raises:
        CellError: a module does not keep the contract or does not export to the same numbers.
        BundleError: the manifest, the name or the place will not do.
        OSError: the folder cannot be written.
    """
    check_name(name)
    check_place(output, force=force)
    whole = Manifest()
    whole.CopyFrom(manifest)
    whole.format, whole.name = FORMAT, name
    if is_plain(whole):
        raise BundleError("token in and logits out is plain generation: export it with export_cell")
    if not examples.examples:
        raise BundleError("a golden run is made of an example, and there is none")
    graphs = trace_shape(modules, whole)
    if not whole.HasField("architecture"):
        whole.architecture.CopyFrom(count_parameters(modules[CELL_FILE]))
    player = Player(whole, {file: to_bytes(graph) for file, graph in graphs.items()})
    check_agreement(player, {"the modules": stepped_together(modules, whole), **(oracles or {})})
    runs: dict[str, Message] = {GOLDEN_FILE: record_runs(player, examples.examples), EXAMPLES_FILE: examples}
    files = seal(whole, graphs, runs)
    card = (write_card or _short_card)(whole, {file: len(data) for file, data in files.items()})
    files |= {MANIFEST_FILE: to_pretty_json(whole), CARD_FILE: card.encode(), **(extra_files or {})}
    write_bundle(output, files, force=force)
    return whole


def trace_shape(modules: Mapping[str, nn.Module], manifest: Manifest) -> dict[str, onnx.ModelProto]:
    """Export every module of a shape.

    Raises:
        CellError: one is missing, or gives other tensors than the manifest says.
        BundleError: the manifest's fields do not go together.
    """
    parse_manifest(to_pretty_json(manifest))
    signatures = describe_graphs(manifest)
    if set(modules) != set(signatures):
        raise CellError(f"the manifest asks for {', '.join(signatures)}; there are {', '.join(modules)}")
    return {file: trace(modules[file].eval(), signature) for file, signature in signatures.items()}


def _short_card(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    lines = "".join(f"- {file}: {size:,} bytes\n" for file, size in sizes.items())
    return f"# {manifest.name}\n\n{manifest.description}\n\n{lines}"

"""A bundle of plain generation from an author's own cell. Other shapes are `composition`'s.

1. The module is traced as one time step and cleaned to a reproducible graph.
2. The graph in onnxruntime is compared with the module, and with any other oracle.
3. The golden run is recorded, and its tokens compared too.
4. Variants are made from the graph, measured against it, and given golden runs of their own.
5. The manifest goes into the metadata of every graph.
6. The folder appears, complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from unrolled.v1.bundle_pb2 import TASK_GENERATE, Architecture, Evaluation, Golden, Manifest, State
from unrolled_export.bundle import check_place, write_bundle
from unrolled_export.golden import record_golden
from unrolled_export.graph import trace_cell
from unrolled_export.manifest import (
    FORMAT,
    GOLDEN_FILE,
    MANIFEST_FILE,
    check_name,
    parse_manifest,
    to_pretty_json,
)
from unrolled_export.parity import Reading, check_logits, check_tokens, stepped
from unrolled_export.replay import Cell
from unrolled_export.sealing import CARD_FILE, seal, to_bytes
from unrolled_export.shape import CELL_FILE
from unrolled_export.variant import Recipe, make_form

CardWriter = Callable[[Manifest, Golden, Cell, Mapping[str, int]], str]
"""Writes the model card from the manifest, the golden run, the cell and the sizes of the bundle's files in bytes."""


def export_cell(
    module: nn.Module,
    *,
    states: Sequence[State],
    vocabulary: Sequence[str],
    name: str,
    output: Path,
    description: str = "",
    architecture: Architecture | None = None,
    evaluation: Evaluation | None = None,
    prompts: Sequence[Sequence[int]] = ((0,),),
    oracles: Mapping[str, Reading] | None = None,
    variants: Sequence[Recipe] = (),
    write_card: CardWriter | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> Manifest:
    """Write the bundle of a cell.

    Args:
        module: one time step, `(token, *states) -> (logits, *new states)`: token int64 `[B]`, each state f32
            `[B, *shape]`, logits f32 `[B, V]`. A pure function whose rows do not depend on each other.
        states: the states in the order of the arguments; "h0" is given as `input`, "new_h0" as `output`.
        vocabulary: V different single characters in the order of the logits.
        name: what callers will ask for.
        output: the bundle's folder, made here.
        description: one line for people.
        architecture: kind and size, for people; counted from the module where omitted.
        evaluation: a measurement on held-out text, if there is one.
        prompts: token sequences that the golden run may begin with.
        oracles: further implementations to compare with, by the name an error should give them.
        variants: further forms of the cell, see `quantisation`.
        write_card: writes README.md; a short card where omitted.
        extra_files: files beside the bundle's own, outside its identity.
        force: replace a bundle that is there.

    Returns:
        The manifest as written.

    Raises:
        CellError: the module does not keep the contract or does not export to the same numbers, or a variant
            loses too much.
        BundleError: the name, the vocabulary, the states or the place will not do.
        OSError: the folder cannot be written.
    """
    check_name(name)
    check_place(output, force=force)
    manifest = Manifest(
        format=FORMAT,
        name=name,
        task=TASK_GENERATE,
        description=description,
        architecture=architecture or count_parameters(module),
        vocabulary=vocabulary,
        states=states,
        evaluation=evaluation,
    )
    parse_manifest(to_pretty_json(manifest))
    module.eval()
    graph = trace_cell(module, states, len(vocabulary))
    cell = Cell(to_bytes(graph), states)
    compared = {"the module": stepped(module, states), **(oracles or {})}
    check_logits(cell, compared, len(vocabulary))
    golden = record_golden(cell, prompts)
    check_tokens(golden, compared)
    forms = [make_form(recipe, graph, states, prompts) for recipe in variants]
    manifest.variants.extend(form.variant for form in forms)
    graphs = {CELL_FILE: graph} | {form.variant.cell: form.graph for form in forms}
    runs = {GOLDEN_FILE: golden} | {form.variant.golden: form.golden for form in forms}
    files = seal(manifest, graphs, runs)
    card = (write_card or _short_card)(manifest, golden, cell, {file: len(data) for file, data in files.items()})
    files |= {MANIFEST_FILE: to_pretty_json(manifest), CARD_FILE: card.encode(), **(extra_files or {})}
    write_bundle(output, files, force=force)
    return manifest


def count_parameters(module: nn.Module) -> Architecture:
    """Describe a module by its name and its size."""
    return Architecture(
        cell=type(module).__name__.lower(), parameters=sum(weight.numel() for weight in module.parameters())
    )


def _short_card(manifest: Manifest, _golden: Golden, _cell: Cell, sizes: Mapping[str, int]) -> str:
    lines = "".join(f"- {file}: {sizes[file]:,} bytes\n" for file in sorted(sizes) if file.endswith(".onnx"))
    return f"# {manifest.name}\n\n{manifest.description}\n\n{lines}"

"""A third party's ONNX file as a bundle: its paired states are named, a manifest and a golden run are written.

Torch-free. Nothing of what the graph computes is changed: inputs and outputs get the names that a bundle's cell has,
and dimensions that are not fixed become the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from unrolled.v1.bundle_pb2 import TASK_GENERATE, Architecture, Golden, Manifest, State
from unrolled_export.bundle import check_place, write_bundle
from unrolled_export.errors import BundleError
from unrolled_export.golden import record_golden
from unrolled_export.interface import check_interface, check_weights
from unrolled_export.manifest import FORMAT, GOLDEN_FILE, MANIFEST_FILE, check_name, parse_manifest, to_pretty_json
from unrolled_export.replay import Cell
from unrolled_export.sealing import CARD_FILE, seal
from unrolled_export.shape import CELL_FILE, describe_graphs

BATCH = "batch"


@dataclass(frozen=True)
class Naming:
    """Say what a foreign graph's tensors are.

    Attributes:
        states: by the name of a state's input that of the output which feeds it at the next step.
        token: name of the input that takes the token.
        logits: name of the output that gives the logits.
    """

    states: Mapping[str, str]
    token: str = "token"  # noqa: S105
    logits: str = "logits"


def wrap(
    file: Path,
    naming: Naming,
    *,
    vocabulary: Sequence[str],
    name: str,
    output: Path,
    description: str = "",
    force: bool = False,
) -> Manifest:
    """Write the bundle of a graph that makes one step: token and states in, logits and new states out.

    Args:
        file: the ONNX file, weights inside, the batch on axis 0 of every tensor.
        naming: what its tensors are.
        vocabulary: V different single characters in the order of the logits.
        name: what callers will ask for.
        output: the bundle's folder, made here.
        description: one line for people.
        force: replace a bundle that is there.

    Raises:
        BundleError: the file is no such graph, or the name, the vocabulary or the place will not do.
        CellError: the graph is not valid once renamed.
        OSError: the file cannot be read, or the folder not written.
    """
    check_name(name)
    check_place(output, force=force)
    model = _read(file)
    states = [_describe(model.graph, taken, given) for taken, given in naming.states.items()]
    _rename(model.graph, {naming.token: "token", naming.logits: "logits"})
    parameters = sum(_count(tensor) for tensor in model.graph.initializer)
    manifest = Manifest(
        format=FORMAT,
        name=name,
        task=TASK_GENERATE,
        description=description or f"wrapped from {file.name}",
        architecture=Architecture(cell="wrapped", parameters=parameters),
        vocabulary=vocabulary,
        states=states,
    )
    parse_manifest(to_pretty_json(manifest))
    _free_batch(model.graph)
    check_interface(model, describe_graphs(manifest)[CELL_FILE])
    golden: Golden = record_golden(Cell(model.SerializeToString(), states), [[0]])
    files = seal(manifest, {CELL_FILE: model}, {GOLDEN_FILE: golden})
    card = f"# {name}\n\n{manifest.description}\n"
    write_bundle(output, {**files, MANIFEST_FILE: to_pretty_json(manifest), CARD_FILE: card.encode()}, force=force)
    return manifest


def _read(file: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
        check_weights(model)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{file.name} is not a valid graph: {str(error).strip().splitlines()[0]}") from error
    return model


def _describe(graph: onnx.GraphProto, taken: str, given: str) -> State:
    infos = {info.name: info for info in graph.input}
    if taken not in infos or given not in {info.name for info in graph.output}:
        missing = f"input {taken}" if taken not in infos else f"output {given}"
        raise BundleError(f"the graph has no {missing}; it takes {', '.join(infos)}")
    extents = infos[taken].type.tensor_type.shape.dim[1:]
    return State(input=taken, output=given, dtype="float32", shape=[extent.dim_value for extent in extents])


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    present = {info.name for info in (*graph.input, *graph.output)}
    for name in names:
        if name not in present:
            raise BundleError(f"the graph has no {name}; it has {', '.join(sorted(present))}")
    inner = {name for node in graph.node for name in (*node.input, *node.output)} - present
    clashing = {wanted for name, wanted in names.items() if name != wanted} & (inner | present)
    if clashing:
        raise BundleError(f"another tensor of the graph is already called {', '.join(sorted(clashing))}")
    for info in (*graph.input, *graph.output):
        info.name = names.get(info.name, info.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _free_batch(graph: onnx.GraphProto) -> None:
    """Call the first axis of every input and output the batch, unless it is fixed."""
    for info in (*graph.input, *graph.output):
        if info.type.tensor_type.shape.dim and not info.type.tensor_type.shape.dim[0].HasField("dim_value"):
            info.type.tensor_type.shape.dim[0].dim_param = BATCH


def _count(tensor: onnx.TensorProto) -> int:
    count = 1
    for extent in tensor.dims:
        count *= extent
    return count

"""Whether a graph's inputs and outputs are those its manifest names. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_export.errors import BundleError

Signature = dict[str, tuple[int, tuple[int, ...]]]


def check_interface(model: onnx.ModelProto, manifest: Manifest) -> str:
    """Compare names, element types and extents, the free batch axis first.

    Raises:
        BundleError: one differs; the message names it.
    """
    shapes = [tuple(state.shape) for state in manifest.states]
    tokens: Signature = {"token": (onnx.TensorProto.INT64, ())}
    logits: Signature = {"logits": (onnx.TensorProto.FLOAT, (len(manifest.vocabulary),))}
    _compare("input", model.graph.input, tokens | _floats([state.input for state in manifest.states], shapes))
    _compare("output", model.graph.output, logits | _floats([state.output for state in manifest.states], shapes))
    return f"{len(model.graph.node)} nodes, {len(shapes)} states in and out"


def check_weights(model: onnx.ModelProto) -> None:
    """Accept a graph that has all its weights in itself; nothing outside is looked for.

    Raises:
        BundleError: a weight lies outside the file; the message names it.
    """
    outside = [item.name for item in model.graph.initializer if item.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise BundleError(f"weights outside the file: {', '.join(outside)}")


def _floats(names: Iterable[str], shapes: Sequence[tuple[int, ...]]) -> Signature:
    return {name: (onnx.TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True)}


def _compare(kind: str, infos: Iterable[onnx.ValueInfoProto], wanted: Signature) -> None:
    given = {info.name: info.type.tensor_type for info in infos}
    if set(given) != set(wanted):
        differing = sorted(set(given) ^ set(wanted))
        raise BundleError(f"the graph's {kind}s and the manifest's states differ in {', '.join(differing)}")
    for name, (element, shape) in wanted.items():
        batch, *extents = given[name].shape.dim or [onnx.TensorShapeProto.Dimension(dim_value=1)]
        if given[name].elem_type != element:
            found = onnx.TensorProto.DataType.Name(given[name].elem_type)
            raise BundleError(f"{kind} {name} is {found}, not {onnx.TensorProto.DataType.Name(element)}")
        if batch.HasField("dim_value") or tuple(extent.dim_value for extent in extents) != shape:
            raise BundleError(f"{kind} {name} is not [batch, {', '.join(map(str, shape))}]")

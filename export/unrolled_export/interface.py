"""Whether a graph's inputs and outputs are those its manifest names. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from unrolled_export.errors import BundleError
from unrolled_export.shape import Extents, Signature


def check_interface(model: onnx.ModelProto, signature: Signature) -> str:
    """Compare names, element types and extents, the free batch axis first.

    Raises:
        BundleError: one differs; the message names it.
    """
    _compare("input", model.graph.input, signature.inputs)
    _compare("output", model.graph.output, signature.outputs)
    return f"{len(model.graph.node)} nodes, {len(signature.inputs)} inputs, {len(signature.outputs)} outputs"


def check_weights(model: onnx.ModelProto) -> None:
    """Accept a graph that has all its weights in itself; nothing outside is looked for.

    Raises:
        BundleError: a weight lies outside the file; the message names it.
    """
    outside = [item.name for item in model.graph.initializer if item.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise BundleError(f"weights outside the file: {', '.join(outside)}")


def _compare(kind: str, infos: Iterable[onnx.ValueInfoProto], wanted: Mapping[str, Extents]) -> None:
    given = {info.name: info.type.tensor_type for info in infos}
    if set(given) != set(wanted):
        differing = sorted(set(given) ^ set(wanted))
        raise BundleError(f"the graph's {kind}s and the manifest's states differ in {', '.join(differing)}")
    for name, shape in wanted.items():
        element = onnx.TensorProto.INT64 if name == "token" else onnx.TensorProto.FLOAT
        batch, *extents = given[name].shape.dim or [onnx.TensorShapeProto.Dimension(dim_value=1)]
        if given[name].elem_type != element:
            found = onnx.TensorProto.DataType.Name(given[name].elem_type)
            raise BundleError(f"{kind} {name} is {found}, not {onnx.TensorProto.DataType.Name(element)}")
        if batch.HasField("dim_value") or tuple(extent.dim_value for extent in extents) != shape:
            raise BundleError(f"{kind} {name} is not [{', '.join(map(str, ('batch', *shape)))}]")

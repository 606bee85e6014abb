"""Looks a graph over before any runtime sees it: what it is made of, how large it says it is, where its numbers are.

Pure Python over a parsed model, so that no checker's or runtime's defect is reached by a graph that is refused here.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from unrolled_service.models import limits
from unrolled_service.models.limits import Limits
from unrolled_service.models.operators import MEASURES, SIZED_BY, STANDARD

_STANDARD_DOMAINS = ("", "ai.onnx")


def find_graph_faults(model: onnx.ModelProto, allowed: Limits) -> Iterator[str]:
    """Yield each reason not to run a model, the first one first.

    Args:
        model: as parsed; nothing of it is taken for granted.
        allowed: limits and further operators.
    """
    if model.ir_version not in limits.IR_VERSIONS:
        yield f"IR version {model.ir_version} is not {_span(limits.IR_VERSIONS)}"
    yield from _find_domain_faults(model, allowed)
    if model.functions:
        yield f"has a function of its own, {model.functions[0].name!r}: inline it"
    if model.training_info:
        yield "has training information, which no server needs"
    yield from _Walk(allowed).graph(model.graph, 0)
    yield from _find_size_faults(model.graph)


def _find_domain_faults(model: onnx.ModelProto, allowed: Limits) -> Iterator[str]:
    listed = {name.rpartition("::")[0] for name in allowed.operators}
    for entry in model.opset_import:
        if entry.domain not in (*_STANDARD_DOMAINS, *listed):
            yield f"imports the domain {entry.domain!r}, which is not allowed here"
        elif entry.domain in _STANDARD_DOMAINS and entry.version not in limits.OPSETS:
            yield f"opset {entry.version} is not {_span(limits.OPSETS)}"


class _Walk:
    """Goes through a graph and everything below it, and counts."""

    def __init__(self, allowed: Limits) -> None:
        self._allowed = allowed
        self._nodes = self._initializers = 0

    def graph(self, graph: GraphProto, depth: int) -> Iterator[str]:
        if depth > limits.DEPTH:
            yield f"has graphs nested deeper than {limits.DEPTH}"
            return
        self._nodes += len(graph.node)
        self._initializers += len(graph.initializer)
        if self._nodes > limits.NODES:
            yield f"has more than {limits.NODES} nodes"
        if self._initializers > limits.INITIALIZERS:
            yield f"has more than {limits.INITIALIZERS} initializers"
        if graph.sparse_initializer:
            yield "has a sparse initializer"
        for tensor in graph.initializer:
            yield from _find_tensor_faults(f"initializer {tensor.name!r}", tensor, self._allowed)
        for node in graph.node:
            yield from self._node(node, depth)
        yield from _find_training_faults(graph)

    def _node(self, node: NodeProto, depth: int) -> Iterator[str]:
        name = node.op_type if node.domain in _STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
        if name not in STANDARD and name not in self._allowed.operators:
            yield f"has the operator {name}, which is not allowed here"
        for attribute in node.attribute:
            yield from self._attribute(f"{node.op_type}.{attribute.name}", attribute, depth)

    def _attribute(self, place: str, attribute: AttributeProto, depth: int) -> Iterator[str]:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            yield f"{place} is sparse"
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            yield from _find_tensor_faults(place, tensor, self._allowed)
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from self.graph(graph, depth + 1)


def _find_tensor_faults(place: str, tensor: TensorProto, allowed: Limits) -> Iterator[str]:
    """Yield what is wrong with a tensor: elsewhere, of no plain type, not as large as it says, or not numbers."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        yield f"{place} refers to data outside the file"
        return
    if tensor.HasField("segment"):
        yield f"{place} is a part of a tensor"
        return
    if tensor.data_type not in _PLAIN:
        yield f"{place} is of the type {_name_type(tensor.data_type)}, which is not a plain number"
        return
    if len(tensor.dims) > limits.RANK or any(extent < 0 for extent in tensor.dims):
        yield f"{place} has a negative extent, or more than {limits.RANK}"
        return
    claimed = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if claimed > allowed.total_bytes:
        yield f"{place} says that it has {claimed} bytes, more than the {allowed.total_bytes} of a bundle"
        return
    try:
        values = numpy_helper.to_array(tensor)
    except (OverflowError, TypeError, ValueError) as error:
        yield f"{place} does not hold what its extents say: {error}"
        return
    if values.dtype.kind == "f" and np.isnan(values).any():
        yield f"{place} has a number that is not one"


def _find_training_faults(graph: GraphProto) -> Iterator[str]:
    """Yield each operator that does, or may do, as in training: looks at the whole batch, or draws."""
    falses = {tensor.name for tensor in graph.initializer if _is_false(tensor)}
    for node in graph.node:
        if node.op_type == "Constant" and any(_is_false(attribute.t) for attribute in node.attribute):
            falses.update(node.output)
        if node.op_type == "BatchNormalization":
            if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
                yield "BatchNormalization is in training mode, where a neighbour changes a row"
        elif node.op_type == "Dropout" and not falses.issuperset(filter(None, node.input[2:])):
            yield "Dropout is in training mode, where it draws, or may be: training_mode is not constantly false"


def _is_false(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.BOOL and not numpy_helper.to_array(tensor).any()


_PLAIN = {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT16,
    TensorProto.UINT16,
    TensorProto.INT32,
    TensorProto.UINT32,
    TensorProto.INT64,
    TensorProto.UINT64,
    TensorProto.BOOL,
}


def _find_size_faults(graph: GraphProto) -> Iterator[str]:
    """Yield each tensor that is as large as a value says: a trial cannot tell how large it becomes."""
    of_values = {value.name for value in graph.input}
    for node in graph.node:
        for index in SIZED_BY.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] in of_values:
                yield f"{node.op_type} makes {', '.join(node.output)} as large as values say, not as shapes do"
        holds_graph = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if holds_graph or (node.op_type not in MEASURES and of_values.intersection(node.input)):
            of_values.update(node.output)


def _name_type(number: int) -> str:
    return TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)


def _span(versions: range) -> str:
    return f"{versions.start} to {versions.stop - 1}"

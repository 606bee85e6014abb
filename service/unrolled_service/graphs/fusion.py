"""Rewrites a cell's graph into fewer passes over memory, with the runtime's own fused operators.

The file of a cell stays standard ONNX, which any runtime takes; what this one does faster is its own
business and is decided here, when a program is composed. A rewritten graph gives the same numbers as the
one before, but for the last bit.
"""

from collections import Counter

import onnx
from onnx import helper

RUNTIME_DOMAIN = "com.microsoft"
UNIT = "one"
"""Name of a constant 1 that the graph around must have."""


def fuse_products(graph: onnx.GraphProto) -> None:
    """Fuse the integer products of a graph.

    ``Add(Mul(Cast(MatMulInteger(a, b, zero)), scale), bias)`` takes four passes over its result, the first of
    them in int32; ``MatMulIntegerToFloat`` scales and adds while it writes. ``bias`` is taken in where it is one
    number a column.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    makers = {output: node for node in graph.node for output in node.output}
    vectors = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}
    fused: dict[str, onnx.NodeProto] = {}
    absorbed: set[str] = set()

    def inner(name: str, op: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor, if it is of a kind and nobody else reads what it makes."""
        node = makers.get(name)
        return node if node is not None and node.op_type == op and readers[name] == 1 else None

    for node in graph.node:
        scaling, bias = node, ""
        if node.op_type == "Add" and node.input[1] in vectors:
            scaling, bias = inner(node.input[0], "Mul") or node, node.input[1]
        if scaling.op_type != "Mul" or scaling.input[1] not in vectors:
            continue
        cast = inner(scaling.input[0], "Cast")
        product = inner(cast.input[0], "MatMulInteger") if cast else None
        if cast is None or product is None or len(product.input) != 3:
            continue
        left, right, zero_point = product.input
        inputs = [left, right, UNIT, scaling.input[1], zero_point, *(["", bias] if bias else [])]
        fused[node.output[0]] = helper.make_node("MatMulIntegerToFloat", inputs, node.output, domain=RUNTIME_DOMAIN)
        absorbed |= {product.output[0], cast.output[0], scaling.output[0]} - {node.output[0]}
    nodes = [fused.get(node.output[0], node) for node in graph.node if node.output[0] not in absorbed]
    del graph.node[:]
    graph.node.extend(nodes)

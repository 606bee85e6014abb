"""Rewrites a cell's graph so that gates are computed apart instead of together and then taken apart.

A layer's gates come out of one product, ``[B, gates x H]``, which a Split copies into ``[B, H]`` each. Products with
the columns of one gate give the same numbers, need no copy, and stay in the cache until they are used.
"""

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_COLUMNS = {"Gemm": (1,), "MatMul": (1,), "MatMulIntegerToFloat": (1, 3), "Gather": (0,)}
"""Inputs that hold one column, or one number, for each column of the result: constants."""
_SUMMANDS = {"Gemm": (2,), "MatMulIntegerToFloat": (6,), "Add": (0, 1)}
"""Inputs that are added to the result, column by column."""
_PLAIN = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0, "axis": 0}


def part_gates(graph: onnx.GraphProto) -> None:
    """Move every Split of a graph that halves, thirds or quarters a product's columns into the product."""
    for node in [node for node in graph.node if node.op_type == "Split"]:
        parting = _Parting(graph, len(node.output))
        if parting.is_possible(node.input[0], node):
            parting.write(node)


class _Parting:
    """The parts of one tensor, made from parts of what it is made of."""

    def __init__(self, graph: onnx.GraphProto, parts: int) -> None:
        self._graph = graph
        self._parts = parts
        self._makers = {output: node for node in graph.node for output in node.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._readers.update(output.name for output in graph.output)
        self._nodes: list[onnx.NodeProto] = []
        self._gone: list[str] = []

    def is_possible(self, name: str, split: onnx.NodeProto) -> bool:
        """Return whether the split is one of equal columns, and the tensor of a kind that can be made in parts."""
        axis = next((item.i for item in split.attribute if item.name == "axis"), 0)
        sizes = [self._constants.get(name) for name in split.input[1:2]]
        is_even = all(size is not None and len({*numpy_helper.to_array(size).tolist()}) == 1 for size in sizes)
        return axis == 1 and is_even and name not in self._constants and self._can_part(name)

    def _can_part(self, name: str) -> bool:
        if name in self._constants:
            return self._constants[name].dims[-1] % self._parts == 0
        node = self._makers.get(name)
        if node is None or self._readers[name] != 1 or not _is_plain(node):
            return False
        columns, summands = _COLUMNS.get(node.op_type, ()), _SUMMANDS.get(node.op_type, ())
        return (
            bool(columns or summands)
            and all(node.input[i] in self._constants and self._can_part(node.input[i]) for i in columns)
            and all(self._can_part(node.input[i]) for i in summands if i < len(node.input) and node.input[i])
        )

    def write(self, split: onnx.NodeProto) -> None:
        """Put the parts in the place of the split and of all that it was made of."""
        for part, output in enumerate(split.output):
            self._add(split.input[0], part, output)
        place = next(i for i, node in enumerate(self._graph.node) if node is split or node == split)
        before, after = list(self._graph.node[:place]), list(self._graph.node[place + 1 :])
        kept = [node for node in before if node.output[0] not in self._gone]
        del self._graph.node[:]
        self._graph.node.extend([*kept, *self._nodes, *after])

    def _add(self, name: str, part: int, output: str = "") -> str:
        """Add what makes one part of a tensor, and return its name."""
        output = output or f"{name}/part_{part}"
        if name in self._constants:
            if output not in self._constants:
                content = _slice(numpy_helper.to_array(self._constants[name]), part, self._parts)
                self._graph.initializer.append(numpy_helper.from_array(content, output))
                self._constants[output] = self._graph.initializer[-1]
            return output
        node, parted = self._makers[name], onnx.NodeProto()
        parted.CopyFrom(node)
        for i in (*_COLUMNS.get(node.op_type, ()), *_SUMMANDS.get(node.op_type, ())):
            if i < len(node.input) and node.input[i]:
                parted.input[i] = self._add(node.input[i], part)
        parted.output[0] = output
        parted.name = ""
        self._nodes.append(parted)
        self._gone.append(name)
        return output


def _slice(content: NDArray[np.generic], part: int, parts: int) -> NDArray[np.generic]:
    width = content.shape[-1] // parts
    return np.ascontiguousarray(content[..., part * width : (part + 1) * width])


def _is_plain(node: onnx.NodeProto) -> bool:
    return all(_PLAIN.get(item.name) == helper.get_attribute_value(item) for item in node.attribute)

"""A cell in 8-bit integers, made from its fp32 graph. Torch-free.

A product of a bounded state, `Gemm(h, W, b)`, becomes

```
q   = QuantizeLinear(h, 1/127, 128)         uint8, because h lies in (-1, 1)
acc = MatMulInteger(q, round(W / scale))    int32, exact
    = Cast(acc) * (scale / 127) + b         scale f32, one a column of W
```

Every scale is a constant, so a row's result depends on that row alone. Two products that are summed, as
those of a layer's input and of its recurrence, are one product of the two states side by side. Weights take
7 bits, -64 to 64: processors without VNNI add two u8 x s8 products in 16 bits and saturate beyond that, and
a cell must be the same cell on all of them.

What stays fp32: everything elementwise, the table of the first layer, and states at the step's border.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unrolled.v1.bundle_pb2 import State
from unrolled_export.errors import CellError
from unrolled_export.reference import Floats

PRECISION = "int8"
ZERO_POINT = 128
HIDDEN_SCALE = np.float32(1 / 127)
LARGEST_WEIGHT = 64


def quantise_cell(cell: onnx.ModelProto, bounded: Collection[State]) -> onnx.ModelProto:
    """Return `cell` with its products of `bounded` states, before and after the step, in 8 bits.

    Args:
        cell: an fp32 cell; it is not changed.
        bounded: the states whose every element lies in [-1, 1] at all times.

    Returns:
        A graph of the same inputs and outputs, without metadata.

    Raises:
        CellError: no product takes a bounded state.
    """
    writer = _Writer(cell.graph, {name for state in bounded for name in (state.input, state.output)})
    for node in cell.graph.node:
        writer.write(node)
    if not writer.quantised:
        raise CellError("the cell multiplies no bounded state by a matrix: nothing can be quantised")
    model = onnx.ModelProto()
    model.CopyFrom(cell)
    graph = model.graph
    del model.metadata_props[:], graph.node[:], graph.initializer[:]
    graph.node.extend(writer.nodes)
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in cell.graph.initializer if tensor.name in used]
    graph.initializer.extend([*kept, *writer.constants])
    return model


def quantise_columns(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round f32 `[in, out]` to int8 of at most 64, with a scale f32 `[out]`: `weight ≈ rounded * scale`."""
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest, LARGEST_WEIGHT).astype(np.float32) / np.float32(LARGEST_WEIGHT)
    rounded = np.clip(np.rint(weight / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    return rounded.astype(np.int8), scale


@dataclass(frozen=True)
class _Product:
    """A sum of products of states and matrices, and a bias: `sum(x W) + bias`."""

    terms: tuple[tuple[str, str], ...]
    bias: str


@dataclass
class _Writer:
    """Write the nodes of the new graph one after another."""

    graph: onnx.GraphProto
    bounded: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    quantised: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self._products = {node.output[0]: product for node in self.graph.node if (product := self._read(node))}
        self._absorbed = set(self._absorb())

    def write(self, node: onnx.NodeProto) -> None:
        """Add `node` as it is, or what takes its place."""
        name = node.output[0]
        if name in self._absorbed:
            return
        if name not in self._products:
            self.nodes.append(node)
            return
        product = self._products[name]
        states = [self._quantise(state) for state, _ in product.terms]
        together = states[0] if len(states) == 1 else self._add("Concat", states, f"{name}.states", axis=1)
        stacked = np.concatenate([self._matrix(weight) for _, weight in product.terms])
        rounded, scale = quantise_columns(stacked)
        weight = self._keep(f"{name}.weight", rounded)
        factor = self._keep(f"{name}.scale", scale * HIDDEN_SCALE)
        sums = self._add("MatMulInteger", [together, weight, "zero_point"], f"{name}.sums")
        floats = self._add("Cast", [sums], f"{name}.floats", to=TensorProto.FLOAT)
        scaled = self._add("Mul", [floats, factor], f"{name}.scaled" if product.bias else name)
        if product.bias:
            self._add("Add", [scaled, product.bias], name)

    def _read(self, node: onnx.NodeProto) -> _Product | None:
        """Take a node as a product if it can be quantised."""
        if node.op_type != "Gemm" or node.input[0] not in self.bounded or node.input[1] not in self._weights:
            return None
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        is_plain = all(plain.get(item.name) == helper.get_attribute_value(item) for item in node.attribute)
        if not is_plain:
            return None
        return _Product(((node.input[0], node.input[1]),), node.input[2] if len(node.input) > 2 else "")

    def _absorb(self) -> Iterator[str]:
        """Merge every product that is only the bias of another one into that one; yield its name."""
        inputs = [name for node in self.graph.node for name in node.input]
        for name, product in self._products.items():
            inner = self._products.get(product.bias)
            if inner is not None and inputs.count(product.bias) == 1:
                self._products[name] = _Product((*inner.terms, *product.terms), inner.bias)
                yield product.bias

    def _quantise(self, state: str) -> str:
        """Quantise a state where it is first needed, once."""
        if not self.quantised:
            self._keep("hidden_scale", np.asarray(HIDDEN_SCALE))
            self._keep("zero_point", np.asarray(ZERO_POINT, np.uint8))
        if state not in self.quantised:
            inputs = [state, "hidden_scale", "zero_point"]
            self.quantised[state] = self._add("QuantizeLinear", inputs, f"{state}.quantised")
        return self.quantised[state]

    def _matrix(self, name: str) -> Floats:
        matrix: Floats = numpy_helper.to_array(self._weights[name])
        return matrix

    def _keep(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

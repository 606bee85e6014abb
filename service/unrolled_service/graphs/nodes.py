"""What ONNX graphs are built from here: nodes with fresh names, and declarations of tensors."""

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Nodes:
    """A list of nodes under construction; every call adds one and returns its output's name."""

    def __init__(self, scope: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._scope = scope

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with the given output, or one of a fresh name."""
        output = output or f"{self._scope}/{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def branch(self, condition: str, then: onnx.GraphProto, otherwise: onnx.GraphProto, *outputs: str) -> None:
        """Add an If."""
        node = helper.make_node("If", [condition], outputs, then_branch=then, else_branch=otherwise)
        self.nodes.append(node)


def value(name: str, dtype: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """Return the declaration of a tensor."""
    return helper.make_tensor_value_info(name, dtype, shape)

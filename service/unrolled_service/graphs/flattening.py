"""State tensors in a composed graph: one row of numbers outside of its loop, a tensor each inside of the cell.

Both kinds of program keep a row's state tensors flattened, one behind the other. Builds graphs, runs nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper

from unrolled_service.graphs.fusion import RUNTIME_DOMAIN, fuse_products
from unrolled_service.graphs.nodes import FLOAT, Nodes, value
from unrolled_service.graphs.parting import part_gates
from unrolled_service.graphs.runtime import ProgramError
from unrolled_service.graphs.state import StateSpec

IR_VERSION = 10


def prepare_cell(cell: onnx.ModelProto) -> onnx.GraphProto:
    """Return a copy of a cell's graph for a loop's body: names behind ``cell/``, operators fused and parted."""
    step = compose.add_prefix(cell, "cell/").graph
    fuse_products(step)
    part_gates(step)
    return step


def seal_program(graph: onnx.GraphProto, cell: onnx.ModelProto) -> onnx.ModelProto:
    """Return a composed graph as a checked model, with the operator sets of the cell inside of it.

    Raises:
        ProgramError: the cell does not stand in the graph as a valid part of it.
    """
    opsets = [helper.make_opsetid(entry.domain, entry.version) for entry in cell.opset_import]
    opsets.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=max(cell.ir_version, IR_VERSION))
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ProgramError(str(error)) from error
    return model


def take_apart(outer: Nodes, states: Sequence[StateSpec]) -> None:
    """Make the state tensors, named as ``name_states`` says, of ``state`` f32[B, S]."""
    parts = [f"part/{state.input}" for state in states]
    outer.nodes.append(helper.make_node("Split", ["state", "state_sizes"], parts, axis=1))
    for state, part in zip(states, parts, strict=True):
        outer.add("Reshape", part, f"shape/{state.input}", output=f"state/{state.input}")


def name_states(states: Sequence[StateSpec]) -> tuple[list[str], list[str]]:
    """Return how the state tensors are named before and after the loop: never as anything else there is."""
    return [f"state/{state.input}" for state in states], [f"new/{state.output}" for state in states]


def put_together(nodes: Nodes, states: Sequence[StateSpec], *, scope: str = "new/", output: str = "") -> str:
    """Make one row, f32[B, S], of the tensors that are named as the cell's new states behind ``scope``."""
    parts = [nodes.add("Reshape", f"{scope}{state.output}", f"flat/{state.input}") for state in states]
    return nodes.add("Concat", *parts, output=output, axis=1)


def trace_state(states: Sequence[StateSpec]) -> onnx.GraphProto:
    """Return the branch that reports places of the cell's new state: f32[B, N] of ``traced`` int64[N]."""
    cut = Nodes("trace")
    cut.add("Gather", put_together(cut, states, scope="cell/"), "traced", output="trace/values", axis=1)
    return helper.make_graph(cut.nodes, "trace_state", [], [value("trace/values", FLOAT, ["B", "N"])])


def size_constants(states: Sequence[StateSpec]) -> dict[str, Any]:
    """Return the constants that the other functions refer to, by name."""
    return {
        "state_sizes": np.array([state.size for state in states], np.int64),
        **{f"shape/{state.input}": np.array([-1, *state.shape], np.int64) for state in states},
        **{f"flat/{state.input}": np.array([-1, state.size], np.int64) for state in states},
    }


def state_value(name: str, state: StateSpec) -> onnx.ValueInfoProto:
    """Return the declaration of a state tensor."""
    return value(name, FLOAT, ["B", *state.shape])

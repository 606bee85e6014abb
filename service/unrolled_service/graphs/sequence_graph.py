"""Composes a single-step cell into one ONNX graph that runs K steps per call, without a sampler.

The cell stays as it was exported, but for fused operators; the graph is a Loop around it::

    for k in range(K):                                 # K = first extent of `inputs`
        input = inputs[k] if k < forced else last      # where outputs are fed back; else inputs[k]
        output, new = cell(input, states)
        states, last = new, output if k < steps        # a row past its steps stays as it is
        outputs[k] = output                            # and numbers of the new state, if `trace`

Nothing here runs the graph or knows sessions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unrolled_service.graphs.branches import pass_on
from unrolled_service.graphs.flattening import (
    name_states,
    prepare_cell,
    put_together,
    seal_program,
    size_constants,
    state_value,
    take_apart,
    trace_state,
)
from unrolled_service.graphs.nodes import BOOL, FLOAT, INT64, Nodes, value
from unrolled_service.graphs.state import StateSpec


@dataclass(frozen=True, slots=True)
class Ports:
    """What a cell takes and gives at each step, beside its states.

    Attributes:
        input_width: F of its vectors ``input``; 0 for tokens, ``token``.
        output: name of its output; empty where it gives nothing but states.
        output_width: O of that output; 0 without one.
        feeds_back: whether outputs are fed as the next inputs; only with vectors of the same width.
    """

    input_width: int
    output: str
    output_width: int
    feeds_back: bool


def compose_sequence(cell: onnx.ModelProto, states: Sequence[StateSpec], ports: Ports) -> onnx.ModelProto:
    """Return the program of a cell.

    Inputs: ``inputs`` int64[K, B] or f32[K, B, F]; ``steps`` int64[B]; with states ``state`` f32[B, S], a row's
    state tensors flattened one behind the other, ``traced`` int64[N], places in such a row, and the switch ``trace``
    bool[]; where outputs are fed back ``forced`` int64[B] and ``last`` f32[B, O].

    Outputs: with an output ``outputs`` f32[K, B, O]; with states ``new_state`` f32[B, S] and ``trace_values``
    f32[K, B, N], empty unless ``trace``; where outputs are fed back ``new_last`` f32[B, O].

    Args:
        cell: the checked single-step graph.
        states: its states in order; there may be none.
        ports: what else it takes and gives.
    """
    step = prepare_cell(cell)
    scans: dict[str, list[int | str]] = {"outputs": ["B", ports.output_width]} if ports.output else {}
    scans |= {"trace_values": ["T", "N"]} if states else {}
    last = [value("body/last", FLOAT, ["B", ports.output_width])] if ports.feeds_back else []
    new_last = [value("body/new_last", FLOAT, ["B", ports.output_width])] if ports.feeds_back else []
    body = helper.make_graph(
        _step_nodes(step, states, ports),
        "step",
        [value("k", INT64, []), value("go_on", BOOL, []), *last]
        + [state_value(f"cell/{state.input}", state) for state in states],
        [value("body/again", BOOL, []), *new_last]
        + [state_value(f"body/{state.output}", state) for state in states]
        + [value(f"body/{name}", FLOAT, shape) for name, shape in scans.items()],
    )
    outer = Nodes("outer")
    trip_count = outer.add("Squeeze", outer.add("Shape", "inputs", start=0, end=1), "zero_axis")
    if states:
        take_apart(outer, states)
    before, after = name_states(states)
    carried = ["last"] if ports.feeds_back else []
    loop = helper.make_node(
        "Loop",
        [trip_count, "true", *carried, *before],
        [*(f"new_{name}" for name in carried), *after, *scans],
        body=body,
    )
    outer.nodes.append(loop)
    outputs = [value(name, FLOAT, ["K", *shape]) for name, shape in scans.items()]
    if states:
        put_together(outer, states, output="new_state")
        outputs.append(value("new_state", FLOAT, ["B", "S"]))
    if ports.feeds_back:
        outputs.append(value("new_last", FLOAT, ["B", ports.output_width]))
    constants = [numpy_helper.from_array(np.asarray(each), name) for name, each in _constants(states).items()]
    graph = helper.make_graph(
        outer.nodes, "sequence", _inputs(states, ports), outputs, initializer=[*constants, *step.initializer]
    )
    return seal_program(graph, cell)


def _inputs(states: Sequence[StateSpec], ports: Ports) -> list[onnx.ValueInfoProto]:
    vectors = value("inputs", FLOAT, ["K", "B", ports.input_width])
    inputs = [vectors if ports.input_width else value("inputs", INT64, ["K", "B"]), value("steps", INT64, ["B"])]
    if states:
        inputs += [value("state", FLOAT, ["B", "S"]), value("traced", INT64, ["N"]), value("trace", BOOL, [])]
    if ports.feeds_back:
        inputs += [value("forced", INT64, ["B"]), value("last", FLOAT, ["B", ports.output_width])]
    return inputs


def _step_nodes(step: onnx.GraphProto, states: Sequence[StateSpec], ports: Ports) -> list[onnx.NodeProto]:
    """Return the nodes of the loop's body: the input's choice, the cell, what goes on."""
    body = Nodes("body")
    given = body.add("Gather", "inputs", "k", axis=0)
    if ports.feeds_back:
        is_forced = body.add("Unsqueeze", body.add("Less", "k", "forced"), "one_axis")
        given = body.add("Where", is_forced, given, "body/last")
    body.add("Identity", given, output="cell/input" if ports.input_width else "cell/token")
    body.nodes.extend(step.node)
    is_on = body.add("Less", "k", "steps")
    for state in states:
        is_kept = body.add("Reshape", is_on, f"rank/{len(state.shape)}")
        body.add("Where", is_kept, f"cell/{state.output}", f"cell/{state.input}", output=f"body/{state.output}")
    if ports.output:
        body.add("Identity", f"cell/{ports.output}", output="body/outputs")
    if ports.feeds_back:
        is_newer = body.add("Unsqueeze", is_on, "one_axis")
        body.add("Where", is_newer, f"cell/{ports.output}", "body/last", output="body/new_last")
    if states:
        silent = pass_on("untraced", ("no_rows", FLOAT, ["T", "N"]))
        body.branch("trace", trace_state(states), silent, "body/trace_values")
    body.add("Identity", "go_on", output="body/again")
    return body.nodes


def _constants(states: Sequence[StateSpec]) -> dict[str, Any]:
    return {
        "true": np.bool_(True),
        "one": np.float32(1),
        "zero_axis": np.array([0], np.int64),
        "one_axis": np.array([1], np.int64),
        "no_rows": np.zeros((0, 0), np.float32),
        **(size_constants(states) if states else {}),
        **{
            f"rank/{rank}": np.array([-1] + [1] * rank, np.int64)
            for rank in sorted({len(state.shape) for state in states})
        },
    }

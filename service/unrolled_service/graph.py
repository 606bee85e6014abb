"""Composes a single-step cell and the sampler into one ONNX graph that runs K steps per call.

The cell stays as it was exported; the graph is a Loop around it::

    for k in range(K):                            # K = first extent of `forced`
        input  = forced[k] if forced[k] >= 0 else token
        logits, states = cell(input, states)
        token  = choose(logits, uniform[k])       # greedy, or one draw by inverse CDF
        tokens[k] = token

The sampler, in this order: softmax of logits / temperature, then min_p, top_k and top_p cut off the
unlikely, then the first token whose cumulative probability exceeds uniform times the total. The
cut-off sorts the vocabulary, so it stands in an If that is entered only when some row wants it; a
row that cuts nothing off gets the same bits either way.

Nothing here runs the graph or knows sessions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from unrolled_service.arena import StateSpec

OPSET = 20
IR_VERSION = 10


class _Nodes:
    """A list of nodes under construction; every call adds one and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output


def compose_program(cell: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int) -> onnx.ModelProto:
    """Return the program of a cell.

    The inputs are ``token`` int64[B], ``forced`` int64[K, B] (-1: not forced), ``uniform`` f32[K, B],
    ``temperature`` f32[B], ``truncate`` bool[], ``top_k`` int64[B], ``top_p`` and ``min_p`` f32[B], and
    one tensor per state; the outputs are ``tokens`` int64[K, B] and the new states.

    Args:
        cell: the checked single-step graph: ``token`` and states in, ``logits`` and new states out.
        states: the cell's states in order.
        vocabulary_size: V, the width of the logits.
    """
    step = compose.add_prefix(cell, "cell/").graph
    body = helper.make_graph(
        _step_nodes(step, states),
        "step",
        [
            _value("k", TensorProto.INT64, []),
            _value("go_on", TensorProto.BOOL, []),
            _value("body/token", TensorProto.INT64, ["B"]),
        ]
        + [_state_value(f"body/{state.input}", state) for state in states],
        [_value("body/again", TensorProto.BOOL, []), _value("body/next", TensorProto.INT64, ["B"])]
        + [_state_value(f"cell/{state.output}", state) for state in states]
        + [_value("body/out", TensorProto.INT64, ["B"])],
    )
    outer = _Nodes()
    shape = outer.add("Shape", "forced", start=0, end=1)
    trip_count = outer.add("Squeeze", shape, "zero_axis")
    is_greedy = outer.add("Equal", "temperature", "zero")
    outer.add("Unsqueeze", outer.add("Where", is_greedy, "one", "temperature"), "one_axis", output="divisor")
    outer.add("Identity", is_greedy, output="greedy")
    for name in ("top_p", "min_p", "top_k"):
        outer.add("Unsqueeze", name, "one_axis", output=f"{name}_column")
    outputs = [state.output for state in states]
    loop = helper.make_node(
        "Loop",
        [trip_count, "true", "token", *(state.input for state in states)],
        ["last", *outputs, "tokens"],
        body=body,
    )
    graph = helper.make_graph(
        [*outer.nodes, loop],
        "program",
        [
            _value("token", TensorProto.INT64, ["B"]),
            _value("forced", TensorProto.INT64, ["K", "B"]),
            _value("uniform", TensorProto.FLOAT, ["K", "B"]),
            _value("temperature", TensorProto.FLOAT, ["B"]),
            _value("truncate", TensorProto.BOOL, []),
            _value("top_k", TensorProto.INT64, ["B"]),
            _value("top_p", TensorProto.FLOAT, ["B"]),
            _value("min_p", TensorProto.FLOAT, ["B"]),
            *(_state_value(state.input, state) for state in states),
        ],
        [
            _value("tokens", TensorProto.INT64, ["K", "B"]),
            *(_state_value(state.output, state) for state in states),
        ],
        initializer=[*_constants(vocabulary_size), *step.initializer],
    )
    opsets = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in cell.opset_import]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=max(cell.ir_version, IR_VERSION))
    onnx.checker.check_model(model)
    return model


def _step_nodes(step: onnx.GraphProto, states: Sequence[StateSpec]) -> list[onnx.NodeProto]:
    """Return the nodes of the loop's body: the input's choice, the cell, the sampler."""
    body = _Nodes()
    forced = body.add("Gather", "forced", "k", axis=0, output="body/forced")
    uniform = body.add("Gather", "uniform", "k", axis=0, output="body/uniform")
    is_forced = body.add("GreaterOrEqual", forced, "zero_token", output="body/is_forced")
    body.add("Where", is_forced, forced, "body/token", output="cell/token")
    for state in states:
        body.add("Identity", f"body/{state.input}", output=f"cell/{state.input}")
    body.nodes.extend(step.node)
    scaled = body.add("Div", "cell/logits", "divisor", output="body/scaled")
    probabilities = body.add("Softmax", scaled, axis=-1, output="body/probabilities")
    body.nodes.append(
        helper.make_node(
            "If",
            ["truncate"],
            ["body/masses"],
            then_branch=_cut_off(probabilities),
            else_branch=helper.make_graph(
                [helper.make_node("Identity", [probabilities], ["uncut"])],
                "keep_all",
                [],
                [_value("uncut", TensorProto.FLOAT, ["B", "V"])],
            ),
        )
    )
    cumulative = body.add("CumSum", "body/masses", "last_axis", output="body/cumulative")
    total = body.add("Slice", cumulative, "minus_one", "end", "one_axis", output="body/total")
    column = body.add("Unsqueeze", uniform, "one_axis", output="body/uniform_column")
    threshold = body.add("Mul", column, total, output="body/threshold")
    below = body.add("LessOrEqual", cumulative, threshold, output="body/below")
    counted = body.add("Cast", below, to=TensorProto.INT64, output="body/counted")
    drawn = body.add("ReduceSum", counted, "one_axis", keepdims=0, output="body/drawn")
    likeliest = body.add("ArgMax", "cell/logits", axis=-1, keepdims=0, output="body/likeliest")
    body.add("Where", "greedy", likeliest, drawn, output="body/next")
    body.add("Identity", "body/next", output="body/out")
    body.add("Identity", "go_on", output="body/again")
    return body.nodes


def _cut_off(probabilities: str) -> onnx.GraphProto:
    """Return the branch that zeroes what min_p, top_k and top_p cut off.

    Each of the three keeps the tokens at or above a threshold, so together they are one comparison
    with the highest; top_p adds up what the other two left.
    """
    cut = _Nodes()
    descending, order = "cut/descending", "cut/order"
    cut.nodes.append(helper.make_node("TopK", [probabilities, "vocabulary_size"], [descending, order], axis=-1))
    likeliest = cut.add("Slice", descending, "zero_axis", "one_axis", "one_axis", output="cut/likeliest")
    min_p = cut.add("Mul", "min_p_column", likeliest, output="cut/min_p")
    top_k = cut.add("GatherElements", descending, "top_k_column", axis=1, output="cut/top_k")
    floor = cut.add("Max", min_p, top_k, output="cut/floor")
    is_left = cut.add("GreaterOrEqual", descending, floor, output="cut/is_left")
    left = cut.add("Where", is_left, descending, "zero", output="cut/left")
    before = cut.add("CumSum", left, "last_axis", exclusive=1, output="cut/before")
    total = cut.add("ReduceSum", left, "one_axis", keepdims=1, output="cut/total")
    budget = cut.add("Mul", "top_p_column", total, output="cut/budget")
    is_within = cut.add("Less", before, budget, output="cut/is_within")
    is_kept = cut.add("And", is_left, is_within, output="cut/is_kept")
    kept = cut.add("Where", is_kept, descending, "one", output="cut/kept")
    smallest = cut.add("ReduceMin", kept, "one_axis", keepdims=1, output="cut/smallest")
    stays = cut.add("GreaterOrEqual", probabilities, smallest, output="cut/stays")
    cut.add("Where", stays, probabilities, "zero", output="cut")
    return helper.make_graph(cut.nodes, "cut_off", [], [_value("cut", TensorProto.FLOAT, ["B", "V"])])


def _constants(vocabulary_size: int) -> list[onnx.TensorProto]:
    values: dict[str, Any] = {
        "true": np.bool_(True),
        "zero": np.float32(0),
        "one": np.float32(1),
        "zero_token": np.int64(0),
        "last_axis": np.int64(-1),
        "zero_axis": np.array([0], np.int64),
        "one_axis": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "vocabulary_size": np.array([vocabulary_size], np.int64),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _value(name: str, dtype: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _state_value(name: str, state: StateSpec) -> onnx.ValueInfoProto:
    return _value(name, TensorProto.FLOAT, ["B", *state.shape])

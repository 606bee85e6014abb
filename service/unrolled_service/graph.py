"""Composes a single-step cell and the sampler into one ONNX graph that runs K steps per call.

The cell stays as it was exported; the graph is a Loop around it::

    for k in range(K):                                 # K = first extent of `forced`
        input = token if forced[k] < 0 else forced[k] % V
        logits, states = cell(input, states)
        adjusted = logits                              # or with bias and penalties, if `adjust`
        masses = softmax(adjusted / temperature)       # or with the unlikely cut off, if `truncate`
        token = choose(masses, uniform[k])             # one draw by inverse CDF; or the likeliest, if greedy
        tokens[k] = token                              # and its log-probability, if `describe`

Nothing here runs the graph or knows sessions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from unrolled_service.arena import StateSpec
from unrolled_service.branches import adjust, cut_off, describe, pass_on
from unrolled_service.draws import draw_constants, draw_uniform
from unrolled_service.nodes import BOOL, FLOAT, INT64, Nodes, value

IR_VERSION = 10
ROW_SETTINGS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Names of the inputs f32[B, 1] that hold a row's sampling parameters, in the order of ``Sampling.numbers``."""


def compose_program(cell: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int) -> onnx.ModelProto:
    """Return the program of a cell.

    Inputs: ``token`` int64[B]; ``forced`` int64[K, B]: -1 feeds the last sample, t below V a prompt's token,
    V + t a token that was generated before; ``seed`` and ``position`` int64[B]; ``temperature``, ``top_p``, ``min_p``,
    ``repetition_penalty``, ``presence_penalty``, ``frequency_penalty`` f32[B, 1]; ``top_k`` int64[B, 1], the
    rank from 0 of the last token kept; ``bias``, ``generated``, ``fed`` f32[B, V], or [B, 1] unless
    ``adjust``; ``target`` int64[K, B], or [K, 0] unless ``describe``; ``described`` int64[1], N; the switches
    ``adjust``, ``truncate`` and ``describe`` bool[]; and the states.

    Outputs: ``tokens`` int64[K, B]; ``chosen`` f32[K, B], ``top`` f32[K, B, N] and ``top_tokens``
    int64[K, B, N], empty unless ``describe``; and the new states.

    Args:
        cell: the checked single-step graph: ``token`` and states in, ``logits`` and new states out.
        states: the cell's states in order.
        vocabulary_size: V, the width of the logits.
    """
    step = compose.add_prefix(cell, "cell/").graph
    counts = [value(f"body/{name}", FLOAT, ["B", "C"]) for name in ("generated", "fed")]
    body = helper.make_graph(
        _step_nodes(step, states),
        "step",
        [value("k", INT64, []), value("go_on", BOOL, []), value("body/token", INT64, ["B"]), *counts]
        + [_state_value(f"body/{state.input}", state) for state in states],
        [value("body/again", BOOL, []), value("body/next", INT64, ["B"])]
        + [value(f"body/new_{name}", FLOAT, ["B", "C"]) for name in ("generated", "fed")]
        + [_state_value(f"cell/{state.output}", state) for state in states]
        + [value("body/out", INT64, ["B"]), value("body/chosen", FLOAT, ["D"])]
        + [value("body/top", FLOAT, ["D", "N"]), value("body/top_tokens", INT64, ["D", "N"])],
    )
    outer = Nodes("outer")
    trip_count = outer.add("Squeeze", outer.add("Shape", "forced", start=0, end=1), "zero_axis")
    draw_uniform(outer, trip_count)
    is_greedy = outer.add("Equal", "temperature", "zero", output="is_greedy")
    outer.add("Squeeze", is_greedy, "one_axis", output="greedy")
    outer.add("Where", is_greedy, "one", "temperature", output="divisor")
    scans = ["tokens", "chosen", "top", "top_tokens"]
    loop = helper.make_node(
        "Loop",
        [trip_count, "true", "token", "generated", "fed", *(state.input for state in states)],
        ["last", "last_generated", "last_fed", *(state.output for state in states), *scans],
        body=body,
    )
    graph = helper.make_graph(
        [*outer.nodes, loop],
        "program",
        [
            value("token", INT64, ["B"]),
            value("forced", INT64, ["K", "B"]),
            value("seed", INT64, ["B"]),
            value("position", INT64, ["B"]),
            *(value(name, FLOAT, ["B", 1]) for name in ROW_SETTINGS),
            value("top_k", INT64, ["B", 1]),
            *(value(name, FLOAT, ["B", "C"]) for name in ("bias", "generated", "fed")),
            value("target", INT64, ["K", "D"]),
            value("described", INT64, [1]),
            *(value(name, BOOL, []) for name in ("adjust", "truncate", "describe")),
            *(_state_value(state.input, state) for state in states),
        ],
        [
            value("tokens", INT64, ["K", "B"]),
            value("chosen", FLOAT, ["K", "D"]),
            value("top", FLOAT, ["K", "D", "N"]),
            value("top_tokens", INT64, ["K", "D", "N"]),
            *(_state_value(state.output, state) for state in states),
        ],
        initializer=[*_constants(vocabulary_size), *draw_constants(), *step.initializer],
    )
    opsets = [helper.make_opsetid(entry.domain, entry.version) for entry in cell.opset_import]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=max(cell.ir_version, IR_VERSION))
    onnx.checker.check_model(model)
    return model


def _step_nodes(step: onnx.GraphProto, states: Sequence[StateSpec]) -> list[onnx.NodeProto]:
    """Return the nodes of the loop's body: the input's choice, the cell, the sampler."""
    body = Nodes("body")
    _choose_input(body)
    for state in states:
        body.add("Identity", f"body/{state.input}", output=f"cell/{state.input}")
    body.nodes.extend(step.node)
    body.branch(
        "adjust",
        adjust("cell/logits"),
        pass_on(
            "as_is",
            *((name, FLOAT, ["B", "C"]) for name in ("cell/logits", "body/generated", "body/fed")),
        ),
        *("body/adjusted", "body/new_generated", "body/new_fed"),
    )
    probabilities = body.add("Softmax", body.add("Div", "body/adjusted", "divisor"), axis=-1)
    keep_all = pass_on("keep_all", (probabilities, FLOAT, ["B", "V"]))
    body.branch("truncate", cut_off(probabilities), keep_all, "body/masses")
    _choose_token(body)
    body.branch(
        "describe",
        describe("cell/logits"),
        pass_on(
            "silent",
            ("no_values", FLOAT, ["D"]),
            ("no_rows", FLOAT, ["D", "N"]),
            ("no_tokens", INT64, ["D", "N"]),
        ),
        *("body/chosen", "body/top", "body/top_tokens"),
    )
    body.add("Identity", "go_on", output="body/again")
    return body.nodes


def _choose_input(body: Nodes) -> None:
    forced = body.add("Gather", "forced", "k", axis=0)
    is_free = body.add("Less", forced, "zero_token")
    body.add("Where", is_free, "body/token", body.add("Mod", forced, "vocabulary_size"), output="cell/token")
    body.add("Identity", "cell/token", output="body/input")
    is_generated = body.add("Or", is_free, body.add("GreaterOrEqual", forced, "vocabulary_size"))
    column = body.add("Unsqueeze", is_generated, "one_axis")
    body.add("Cast", column, to=FLOAT, output="body/is_generated")


def _choose_token(body: Nodes) -> None:
    cumulative = body.add("CumSum", "body/masses", "last_axis")
    total = body.add("Slice", cumulative, "minus_one", "end", "one_axis")
    uniform = body.add("Unsqueeze", body.add("Gather", "uniform", "k", axis=0), "one_axis")
    is_below = body.add("LessOrEqual", cumulative, body.add("Mul", uniform, total))
    drawn = body.add("ReduceSum", body.add("Cast", is_below, to=INT64), "one_axis", keepdims=0)
    likeliest = body.add("ArgMax", "body/adjusted", axis=-1, keepdims=0)
    body.add("Where", "greedy", likeliest, drawn, output="body/next")
    body.add("Identity", "body/next", output="body/out")


def _constants(vocabulary_size: int) -> list[onnx.TensorProto]:
    values: dict[str, Any] = {
        "true": np.bool_(True),
        "zero": np.float32(0),
        "one": np.float32(1),
        "off_on": np.array([0, 1], np.float32),
        "zero_token": np.int64(0),
        "vocabulary_size": np.int64(vocabulary_size),
        "all": np.array([vocabulary_size], np.int64),
        "last_axis": np.int64(-1),
        "zero_axis": np.array([0], np.int64),
        "one_axis": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "no_values": np.zeros(0, np.float32),
        "no_rows": np.zeros((0, 0), np.float32),
        "no_tokens": np.zeros((0, 0), np.int64),
    }
    return [numpy_helper.from_array(np.asarray(each), name) for name, each in values.items()]


def _state_value(name: str, state: StateSpec) -> onnx.ValueInfoProto:
    return value(name, FLOAT, ["B", *state.shape])

"""Composes a single-step cell and the sampler into one ONNX graph that runs K steps per call.

The cell stays as it was exported, but for fused operators; the graph is a Scan around it::

    for k in range(K):                                 # K = first extent of `forced`
        input = token if forced[k] < 0 else forced[k] % V
        logits, states = cell(input, states)
        adjusted = logits                              # the asking rows' with bias and penalties, if `adjust`
        masses = softmax(adjusted / temperature)       # the asking rows' with the unlikely cut off, if `truncate`
        token = choose(masses, draws[k])               # by inverse CDF; a greedy row has all mass on the likeliest
        tokens[k] = token                              # and the asking rows' log-probabilities, if `describe`
                                                       # and numbers of the new state, if `trace`

It is composed in two forms: the plain one has none of the four switches and nothing behind them; a slice
whose rows all want just a temperature does not even pay for the question. Nothing here runs the graph or knows
sessions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unrolled_service.graphs.branches import adjust, cut_off, describe, pass_on
from unrolled_service.graphs.draws import draw_constants, draw_uniform
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

ASKED_NUMBERS = ("top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Names of the inputs f32[D, 1] that hold what rows ask for, in the order of ``Sampling.numbers``."""
_LONGEST_PRODUCT = 128  # the runtime adds up products over more elements in blocks


def compose_program(
    cell: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int, *, is_plain: bool
) -> onnx.ModelProto:
    """Return the program of a cell.

    Inputs of the plain form: ``token`` int64[B]; ``forced`` int64[K, B]: -1 feeds the last sample, t below V a
    prompt's token, V + t a token that was generated before; ``seed`` and ``position`` int64[B]; ``temperature``
    f32[B, 1]; ``state`` f32[B, S], a row's state tensors flattened one behind the other. Outputs: ``tokens``
    int64[K, B] and ``new_state`` f32[B, S].

    The full form takes besides: ``asking`` int64[D], the rows that ask for anything of what follows; ``top_p``,
    ``min_p``, ``repetition_penalty``, ``presence_penalty``, ``frequency_penalty`` f32[D, 1]; ``top_k`` int64[D, 1],
    the rank from 0 of the last token kept; ``bias``, ``generated``, ``fed`` f32[D, V], or [D, 1] unless ``adjust``;
    ``target`` int64[K, D], or [K, 0] unless ``describe``; ``described`` int64[1], N; ``traced`` int64[M], places in a
    row of the state; the switches ``adjust``, ``truncate``, ``describe`` and ``trace`` bool[]. It gives besides:
    ``chosen`` f32[K, D], ``top`` f32[K, D, N] and ``top_tokens`` int64[K, D, N], empty unless ``describe``;
    ``trace_values`` f32[K, B, M], empty unless ``trace``.

    Args:
        cell: the checked single-step graph: ``token`` and states in, ``logits`` and new states out.
        states: the cell's states in order.
        vocabulary_size: V, the width of the logits.
        is_plain: which form.
    """
    step = prepare_cell(cell)
    counts = [] if is_plain else ["generated", "fed"]
    extras: dict[str, tuple[int, list[str]]] = {
        "chosen": (FLOAT, ["D"]),
        "top": (FLOAT, ["D", "N"]),
        "top_tokens": (INT64, ["D", "N"]),
        "trace_values": (FLOAT, ["T", "M"]),
    }
    extras = {} if is_plain else extras
    of_a_step = _of_a_step(is_plain=is_plain)
    body = helper.make_graph(
        _step_nodes(step, states, vocabulary_size, is_plain=is_plain),
        "step",
        [value("body/token", INT64, ["B"])]
        + [value(f"body/{name}", FLOAT, ["D", "C"]) for name in counts]
        + [state_value(f"cell/{state.input}", state) for state in states]
        + [value(f"body/{name}", dtype, shape) for name, (dtype, shape) in of_a_step.items()],
        [value("body/next", INT64, ["B"])]
        + [value(f"body/new_{name}", FLOAT, ["D", "C"]) for name in counts]
        + [state_value(f"cell/{state.output}", state) for state in states]
        + [value("body/out", INT64, ["B"])]
        + [value(f"body/{name}", dtype, shape) for name, (dtype, shape) in extras.items()],
    )
    outer = Nodes("outer")
    draw_uniform(outer, outer.add("Squeeze", outer.add("Shape", "forced", start=0, end=1), "zero_axis"))
    _read_forced(outer, is_plain=is_plain)
    _settle_draws(outer)
    if not is_plain:
        outer.add("Unsqueeze", "asking", "one_axis", output="asking_places")
    take_apart(outer, states)
    before, after = name_states(states)
    scan = helper.make_node(
        "Scan",
        ["token", *counts, *before, *of_a_step],
        ["last", *(f"last_{name}" for name in counts), *after, "tokens", *extras],
        body=body,
        num_scan_inputs=len(of_a_step),
    )
    outer.nodes.append(scan)
    put_together(outer, states, output="new_state")
    row = [value("state", FLOAT, ["B", "S"]), value("token", INT64, ["B"]), value("forced", INT64, ["K", "B"])]
    row += [value(name, INT64, ["B"]) for name in ("seed", "position")]
    row.append(value("temperature", FLOAT, ["B", 1]))
    graph = helper.make_graph(
        outer.nodes,
        "program",
        row if is_plain else row + _full_inputs(),
        [value("tokens", INT64, ["K", "B"]), value("new_state", FLOAT, ["B", "S"])]
        + [value(name, dtype, ["K", *shape]) for name, (dtype, shape) in extras.items()],
        initializer=[*_constants(vocabulary_size, states), *draw_constants(), *step.initializer],
    )
    return seal_program(graph, cell)


def _of_a_step(*, is_plain: bool) -> dict[str, tuple[int, list[str | int]]]:
    """Return what each step gets of its own, by name: element type and shape without K."""
    plain: dict[str, tuple[int, list[str | int]]] = {
        "is_free": (BOOL, ["B"]),
        "fed_token": (INT64, ["B"]),
        "draws": (FLOAT, ["B", 1]),
    }
    return plain if is_plain else plain | {"is_generated": (BOOL, ["B"]), "target": (INT64, ["T"])}


def _full_inputs() -> list[onnx.ValueInfoProto]:
    return [
        value("asking", INT64, ["D"]),
        *(value(name, FLOAT, ["D", 1]) for name in ASKED_NUMBERS),
        value("top_k", INT64, ["D", 1]),
        *(value(name, FLOAT, ["D", "C"]) for name in ("bias", "generated", "fed")),
        value("target", INT64, ["K", "D"]),
        value("described", INT64, [1]),
        value("traced", INT64, ["M"]),
        *(value(name, BOOL, []) for name in ("adjust", "truncate", "describe", "trace")),
    ]


def _step_nodes(
    step: onnx.GraphProto, states: Sequence[StateSpec], vocabulary_size: int, *, is_plain: bool
) -> list[onnx.NodeProto]:
    """Return the nodes of the loop's body: the input's choice, the cell, the sampler."""
    body = Nodes("body")
    _choose_input(body, is_plain=is_plain)
    body.nodes.extend(step.node)
    masses = _plain_masses(body) if is_plain else _switched_masses(body)
    _choose_token(body, masses, vocabulary_size)
    if not is_plain:
        _describe(body)
        silent = pass_on("untraced", ("no_rows", FLOAT, ["T", "M"]))
        body.branch("trace", trace_state(states), silent, "body/trace_values")
    return body.nodes


def _plain_masses(body: Nodes) -> str:
    return body.add("Softmax", body.add("Div", "cell/logits", "divisor"), axis=-1)


def _switched_masses(body: Nodes) -> str:
    """Add what changes the logits and cuts the unlikely off."""
    body.branch(
        "adjust",
        adjust("cell/logits"),
        pass_on(
            "as_is",
            ("cell/logits", FLOAT, ["B", "V"]),
            *((name, FLOAT, ["D", "C"]) for name in ("body/generated", "body/fed")),
        ),
        *("body/adjusted", "body/new_generated", "body/new_fed"),
    )
    probabilities = body.add("Softmax", body.add("Div", "body/adjusted", "divisor"), axis=-1)
    keep_all = pass_on("keep_all", (probabilities, FLOAT, ["B", "V"]))
    body.branch("truncate", cut_off(probabilities), keep_all, "body/masses")
    return "body/masses"


def _describe(body: Nodes) -> None:
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


def _read_forced(outer: Nodes, *, is_plain: bool) -> None:
    """Make what the steps need to know of ``forced``, of all of them at once; each int64 or bool[K, B]."""
    is_free = outer.add("Less", "forced", "zero_token", output="is_free")
    outer.add("Mod", "forced", "vocabulary_size", output="fed_token")
    if not is_plain:
        was_generated = outer.add("GreaterOrEqual", "forced", "vocabulary_size")
        outer.add("Or", is_free, was_generated, output="is_generated")


def _choose_input(body: Nodes, *, is_plain: bool) -> None:
    body.add("Where", "body/is_free", "body/token", "body/fed_token", output="cell/token")
    if not is_plain:
        body.add("Identity", "cell/token", output="body/input")


def _settle_draws(outer: Nodes) -> None:
    """Make what a row's temperature decides: the divisor of its logits, f32[B, 1], and its draws, f32[K, B, 1].

    A row of temperature 0 takes the likeliest token, the first of equals, and needs no step of its own for that:
    divided by so little, logits leave no mass to any but the likeliest (a power of two keeps them exact), and a draw
    next to 0 takes the first token that has any mass to speak of.
    """
    is_greedy = outer.add("Equal", "temperature", "zero")
    outer.add("Where", is_greedy, "least_divisor", "temperature", output="divisor")
    outer.add("Where", is_greedy, "least_draw", outer.add("Unsqueeze", "uniform", "minus_one"), output="draws")


def _choose_token(body: Nodes, masses: str, vocabulary_size: int) -> None:
    """Draw by inverse CDF: the token's number is how many cumulative masses the draw has passed.

    A product with a triangle of ones adds the masses in vocabulary order, as CumSum does, in a tenth of its time.
    """
    if vocabulary_size <= _LONGEST_PRODUCT:
        cumulative = body.add("MatMul", masses, "triangle")
    else:
        cumulative = body.add("CumSum", masses, "last_axis")
    total = body.add("Slice", cumulative, "minus_one", "end", "one_axis")
    is_passed = body.add("LessOrEqual", cumulative, body.add("Mul", "body/draws", total))
    passed = body.add("ReduceSum", body.add("Cast", is_passed, to=FLOAT), "one_axis", keepdims=0)
    body.add("Cast", passed, to=INT64, output="body/next")
    body.add("Identity", "body/next", output="body/out")


def _constants(vocabulary_size: int, states: Sequence[StateSpec]) -> list[onnx.TensorProto]:
    values: dict[str, Any] = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "off_on": np.array([0, 1], np.float32),
        "zero_token": np.int64(0),
        "vocabulary_size": np.int64(vocabulary_size),
        "all": np.array([vocabulary_size], np.int64),
        "last_axis": np.int64(-1),
        "zero_axis": np.array([0], np.int64),
        "one_axis": np.array([1], np.int64),
        "least_divisor": np.float32(2.0**-90),
        "least_draw": np.float32(2.0**-30),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "no_values": np.zeros(0, np.float32),
        "no_rows": np.zeros((0, 0), np.float32),
        "no_tokens": np.zeros((0, 0), np.int64),
        **size_constants(states),
    }
    if vocabulary_size <= _LONGEST_PRODUCT:
        values["triangle"] = np.triu(np.ones((vocabulary_size, vocabulary_size), np.float32))
    return [numpy_helper.from_array(np.asarray(each), name) for name, each in values.items()]

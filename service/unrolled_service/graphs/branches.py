"""The parts of the sampler that a slice enters only when one of its rows asks for them.

Each stands in an If of the program's loop and works on the rows that ask, ``asking`` int64[D], which are gathered and
put back: the others pay for the If alone, and get the same bits whichever branch their neighbours make the slice enter.
So does a row that asks for something else: its bias is 0, its penalties are neutral, its mask keeps everything.
"""

from collections.abc import Sequence

import onnx
from onnx import helper

from unrolled_service.graphs.nodes import FLOAT, INT64, Nodes, value

_ADJUSTED = (("logits", "B"), ("generated", "D"), ("fed", "D"))


def adjust(logits: str) -> onnx.GraphProto:
    """Return the branch that counts the step's input and applies bias and penalties to the logits.

    Outputs: the logits with the adjusted ones among them, f32[B, V]; counts of generated and of fed tokens, f32[D, V].
    """
    cut = Nodes("adjust")
    hot = cut.add("OneHot", cut.add("Gather", "body/input", "asking"), "vocabulary_size", "off_on")
    was_generated = cut.add("Unsqueeze", cut.add("Gather", "body/is_generated", "asking"), "one_axis")
    by_model = cut.add("Mul", hot, cut.add("Cast", was_generated, to=FLOAT))
    generated = cut.add("Add", "body/generated", by_model, output="adjust/generated")
    fed = cut.add("Add", "body/fed", cut.add("Sub", hot, by_model), output="adjust/fed")
    biased = cut.add("Add", cut.add("Gather", logits, "asking"), "bias")
    is_positive = cut.add("Greater", biased, "zero")
    divided, multiplied = (cut.add(op, biased, "repetition_penalty") for op in ("Div", "Mul"))
    repeated = cut.add("Where", is_positive, divided, multiplied)
    is_seen = cut.add("Greater", cut.add("Add", generated, fed), "zero")
    repelled = cut.add("Where", is_seen, repeated, biased)
    less_frequent = cut.add("Sub", repelled, cut.add("Mul", generated, "frequency_penalty"))
    is_present = cut.add("Cast", cut.add("Greater", generated, "zero"), to=FLOAT)
    adjusted = cut.add("Sub", less_frequent, cut.add("Mul", is_present, "presence_penalty"))
    cut.add("ScatterND", logits, "asking_places", adjusted, output="adjust/logits")
    outputs = [value(f"adjust/{name}", FLOAT, [rows, "V"]) for name, rows in _ADJUSTED]
    return helper.make_graph(cut.nodes, "adjust", [], outputs)


def cut_off(probabilities: str) -> onnx.GraphProto:
    """Return the branch that zeroes what min_p, top_k and top_p exclude.

    Each of the three keeps the tokens at or above a threshold, so together they are one comparison
    with the highest; top_p adds up what the other two left. Output: f32[B, V].
    """
    cut = Nodes("cut")
    own = cut.add("Gather", probabilities, "asking")
    cut.nodes.append(helper.make_node("TopK", [own, "all"], ["cut/descending", "cut/order"], axis=-1))
    likeliest = cut.add("Slice", "cut/descending", "zero_axis", "one_axis", "one_axis")
    top_k = cut.add("GatherElements", "cut/descending", "top_k", axis=1)
    floor = cut.add("Max", cut.add("Mul", "min_p", likeliest), top_k)
    is_left = cut.add("GreaterOrEqual", "cut/descending", floor)
    left = cut.add("Where", is_left, "cut/descending", "zero")
    before = cut.add("CumSum", left, "last_axis", exclusive=1)
    budget = cut.add("Mul", "top_p", cut.add("ReduceSum", left, "one_axis", keepdims=1))
    is_kept = cut.add("And", is_left, cut.add("Less", before, budget))
    kept = cut.add("Where", is_kept, "cut/descending", "one")
    smallest = cut.add("ReduceMin", kept, "one_axis", keepdims=1)
    masses = cut.add("Where", cut.add("GreaterOrEqual", own, smallest), own, "zero")
    cut.add("ScatterND", probabilities, "asking_places", masses, output="cut/masses")
    return helper.make_graph(cut.nodes, "cut_off", [], [value("cut/masses", FLOAT, ["B", "V"])])


def describe(logits: str) -> onnx.GraphProto:
    """Return the branch that describes a step: log-probabilities of its target and of the most probable.

    The target is the given one, or where that is -1 the token chosen. Outputs: f32[D], f32[D, N],
    int64[D, N].
    """
    cut = Nodes("describe")
    logprobs = cut.add("LogSoftmax", cut.add("Gather", logits, "asking"), axis=-1)
    is_own = cut.add("Less", "body/target", "zero_token")
    target = cut.add("Where", is_own, cut.add("Gather", "body/next", "asking"), "body/target")
    chosen = cut.add("GatherElements", logprobs, cut.add("Unsqueeze", target, "one_axis"), axis=1)
    cut.add("Squeeze", chosen, "one_axis", output="describe/chosen")
    outputs = ["describe/top", "describe/top_tokens"]
    cut.nodes.append(helper.make_node("TopK", [logprobs, "described"], outputs, axis=-1))
    return helper.make_graph(
        cut.nodes,
        "describe",
        [],
        [
            value("describe/chosen", FLOAT, ["D"]),
            value("describe/top", FLOAT, ["D", "N"]),
            value("describe/top_tokens", INT64, ["D", "N"]),
        ],
    )


def pass_on(name: str, *tensors: tuple[str, int, Sequence[int | str]]) -> onnx.GraphProto:
    """Return the branch that does nothing: it hands tensors on, given by name, element type and shape."""
    nodes = [helper.make_node("Identity", [source], [f"{name}/{i}"]) for i, (source, _, _) in enumerate(tensors)]
    outputs = [value(f"{name}/{i}", dtype, shape) for i, (_, dtype, shape) in enumerate(tensors)]
    return helper.make_graph(nodes, name, [], outputs)

"""Bundles made to do harm, or broken in transit: how to make each, and in which words it is refused.

Every one is made of a good bundle of the alphabet cell, or of one that begins elsewhere, by one change; where that is
to a listed file, its new sha256 is listed too, so that the refusal is for the change itself.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.support.alphabet import write_bundle
from tests.support.beginnings import write_conditioned, write_transducer

Change = Callable[[Path], object]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@dataclass(frozen=True, slots=True)
class Malice:
    """One way to be refused.

    Attributes:
        change: makes a good bundle bad.
        reason: a pattern of what the refusal says.
        write: makes the good bundle.
        operators: allowed besides the standard ones, where the bundle is to get further than the check of those.
    """

    change: Change
    reason: str
    write: Callable[[Path], object] = write_bundle
    operators: tuple[str, ...] = field(default=())


def make_malice(name: str, folder: Path) -> Path:
    """Write one of ``CORPUS`` and return its folder."""
    CORPUS[name].write(folder)
    CORPUS[name].change(folder)
    return folder


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and its sha256 in the manifest."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(lambda manifest: manifest["files"].update({name: digest}))(folder)


def edit(change: Callable[[dict[str, Any]], object]) -> Change:
    """Return what changes the manifest."""

    def act(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return act


def cell(change: Callable[[ModelProto], object]) -> Change:
    """Return what changes the cell."""
    return graph("cell.onnx", change)


def graph(name: str, change: Callable[[ModelProto], object]) -> Change:
    """Return what changes a graph."""

    def act(folder: Path) -> None:
        model = onnx.load_model_from_string((folder / name).read_bytes())
        change(model)
        rewrite(folder, name, model.SerializeToString())

    return act


def golden(change: Callable[[dict[str, Any]], object]) -> Change:
    """Return what changes the golden run."""

    def act(folder: Path) -> None:
        run = json.loads((folder / "golden.json").read_text())
        change(run)
        rewrite(folder, "golden.json", json.dumps(run).encode())

    return act


def replace(name: str, make: Callable[[Path], object]) -> Change:
    """Return what puts something else in the place of a file."""

    def act(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return act


def elsewhere(tensor: TensorProto) -> TensorProto:
    """Let a tensor lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return tensor


def array(values: object, kind: type = np.int64, name: str = "") -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def constant(model: ModelProto, name: str, tensor: TensorProto) -> None:
    add_nodes(model, [helper.make_node("Constant", [], [name], value=tensor)])


def claim(model: ModelProto, extents: Iterable[int], raw: bytes = b"") -> None:
    """Add an initializer that says it is as large as these extents."""
    model.graph.initializer.append(TensorProto(name="claimed", data_type=FLOAT, dims=extents, raw_data=raw))


def add_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Put nodes before those that are there."""
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])


def sub_graph(nodes: Iterable[NodeProto], output: str, initializers: Iterable[TensorProto] = ()) -> GraphProto:
    value = helper.make_tensor_value_info(output, FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [value], list(initializers))


def choose(model: ModelProto, branch: GraphProto) -> None:
    """Add an If with such branches."""
    node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    add_nodes(model, [node])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))


def nest(depth: int) -> GraphProto:
    branch = sub_graph([helper.make_node("Constant", [], ["leaf"], value_float=1.0)], "leaf")
    for level in range(depth):
        inner = helper.make_node("If", ["yes"], [f"out{level}"], then_branch=branch, else_branch=branch)
        branch = sub_graph([inner], f"out{level}")
    return branch


def nest_bytes(folder: Path) -> None:
    """Nest messages deeper than their reader goes: a graph's node has an attribute, which is a graph, and so on."""
    content = b""
    for _ in range(40):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            content = tag + encode_varint(len(content)) + content
    rewrite(folder, "cell.onnx", b"\x08\x0a\x3a" + encode_varint(len(content)) + content)  # IR version 10, the graph


def encode_varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def draw(model: ModelProto) -> None:
    add_nodes(model, [helper.make_node("RandomNormal", [], ["x"], shape=[4])])


def rename(before: str, after: str) -> Callable[[ModelProto], object]:
    """Return what calls a tensor something else, wherever it stands."""

    def change(model: ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.name = after if value.name == before else value.name
        for node in model.graph.node:
            node.input[:] = [after if name == before else name for name in node.input]
            node.output[:] = [after if name == before else name for name in node.output]

    return change


def depend_on(model: ModelProto, name: str) -> None:
    """Let the first output need a tensor, so that nothing is left out: add zero times its largest number."""
    output = model.graph.output[0].name
    (last,) = (node for node in model.graph.node if output in node.output)
    last.output[0] = "raw"
    axes = array([], np.int64, "no_axes")
    model.graph.initializer.extend([axes, array(0.0, np.float32, "nought")])
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", [name], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nought"], ["nothing"]),
            helper.make_node("Add", ["raw", "nothing"], [output]),
        ]
    )


def loop_forever(model: ModelProto) -> None:
    """Let the cell count to 2^62 before it answers."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["sum", "step"], ["sum_after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", INT64, []),
            helper.make_tensor_value_info("going", BOOL, []),
            helper.make_tensor_value_info("sum", FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", BOOL, []),
            helper.make_tensor_value_info("sum_after", FLOAT, []),
        ],
        [array(1.0, np.float32, "step")],
    )
    add_nodes(model, [helper.make_node("Loop", ["trips", "true", "zero"], ["turned"], body=body)])
    model.graph.initializer.extend(
        [
            array(2**62, np.int64, "trips"),
            numpy_helper.from_array(np.array(True), "true"),
            array(0.0, np.float32, "zero"),
        ]
    )
    depend_on(model, "turned")


def fill_memory(model: ModelProto) -> None:
    """Let the cell make 64 GiB of constants."""
    add_nodes(model, [helper.make_node("ConstantOfShape", ["extents"], ["huge"])])
    model.graph.initializer.append(array([1 << 17, 1 << 17], np.int64, "extents"))
    depend_on(model, "huge")


def expand_memory(model: ModelProto) -> None:
    """Let the cell repeat a state until it is 64 GiB a row."""
    add_nodes(model, [helper.make_node("Expand", ["h0", "extents"], ["huge"])])
    model.graph.initializer.append(array([1, 1 << 34], np.int64, "extents"))
    depend_on(model, "huge")


def grow_with_rows(model: ModelProto) -> None:
    """Let the cell make rows^4 numbers: little for one row, 16 GiB for 256."""
    add_nodes(
        model,
        [
            helper.make_node("Shape", ["token"], ["rows"]),
            helper.make_node("Concat", ["rows"] * 4, ["extents"], axis=0),
            helper.make_node("ConstantOfShape", ["extents"], ["huge"]),
        ],
    )
    depend_on(model, "huge")


def size_of_values(model: ModelProto) -> None:
    add_nodes(model, [helper.make_node("ConstantOfShape", ["token"], ["huge"])])
    depend_on(model, "huge")


def look_aside(state: str, nodes: Iterable[NodeProto], constants: Mapping[str, Any]) -> Callable[[ModelProto], object]:
    """Return what lets a graph take a state for its own that is made of all rows' states, ``theirs`` of ``mine``.

    Where all rows are in the same state, as they are in a golden run, it is the row's own.
    """

    def change(model: ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["taken" if name == state else name for name in node.input]
        add_nodes(
            model,
            [
                helper.make_node("Identity", [state], ["mine"]),
                *nodes,
                helper.make_node("Sub", ["theirs", "mine"], ["apart"]),
                helper.make_node("Add", ["mine", "apart"], ["taken"]),
            ],
        )
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()
        )

    return change


def peek(state: str = "h0") -> Callable[[ModelProto], object]:
    """Return what lets the rows of a graph take the state of the one that counted farthest."""
    node = helper.make_node("ReduceMax", ["mine", "rows"], ["theirs"], keepdims=1)
    return look_aside(state, [node], {"rows": np.array([0])})


def drop(**made: Any) -> Callable[[ModelProto], object]:
    """Return what adds a Dropout whose training mode is as told: an initializer, or by nodes."""

    def change(model: ModelProto) -> None:
        add_nodes(
            model, [*made.get("nodes", []), helper.make_node("Dropout", ["h0", "", "is_training"], ["dropped"], seed=1)]
        )
        model.graph.initializer.extend(made.get("initializers", []))

    return change


def normalise(model: ModelProto) -> None:
    """Add a BatchNormalization over the rows that are there."""
    names = ("scale", "bias", "mean", "variance")
    node = helper.make_node(
        "BatchNormalization", ["h0", *names], ["normal", "new_mean", "new_variance"], training_mode=1
    )
    add_nodes(model, [node])
    model.graph.initializer.extend(array([1.0], np.float32, name) for name in names)


def call_function(model: ModelProto) -> None:
    inner = helper.make_node("Constant", [], ["y"], value=elsewhere(array([1.0], np.float32)))
    function = helper.make_function("hidden", "Trick", [], ["y"], [inner], [helper.make_opsetid("", 20)])
    model.functions.append(function)


def turn_in_circles(model: ModelProto) -> None:
    add_nodes(
        model,
        [
            helper.make_node("Add", ["round_b", "h0"], ["round_a"]),
            helper.make_node("Add", ["round_a", "h0"], ["round_b"]),
        ],
    )


def swap_last_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def state(**fields: Any) -> Change:
    return edit(lambda manifest: manifest["states"][0].update(fields))


def variant(cell_name: str, golden_name: str) -> Change:
    form = {"precision": "int8", "cell": cell_name, "golden": golden_name}
    return edit(lambda manifest: manifest.update(variants=[form]))


def set_opset(model: ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def set_input_type(model: ModelProto, kind: int) -> None:
    model.graph.input[1].type.tensor_type.elem_type = kind


_DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


def beside(who: str, name: str, initializer: str, write: Callable[[Path], Path]) -> dict[str, Malice]:
    """Return what any graph beside the cell may try, by name; its first initializer has the given one."""
    return {
        f"{who}'s number elsewhere": Malice(
            graph(f"{name}.onnx", lambda m: elsewhere(m.graph.initializer[0])),
            rf"{name}\.onnx: initializer '{initializer}' refers to data outside the file",
            write=write,
        ),
        f"{who} that draws": Malice(
            graph(f"{name}.onnx", draw), rf"{name}\.onnx: has the operator RandomNormal", write=write
        ),
    }


CORPUS: dict[str, Malice] = {
    # where files are
    "a listed file above": Malice(
        edit(lambda m: m["files"].update({"../../etc/passwd": "0" * 64})),
        r"not beside the manifest: '../../etc/passwd'",
    ),
    "a listed file at the root": Malice(
        edit(lambda m: m["files"].update({"/etc/passwd": "0" * 64})), r"not beside the manifest: '/etc/passwd'"
    ),
    "a listed name with a NUL": Malice(
        edit(lambda m: m["files"].update({"cell.onnx\0": "0" * 64})), r"not beside the manifest: 'cell\.onnx\\x00'"
    ),
    "a variant above": Malice(variant("../cell.onnx", "golden.int8.json"), r"variants .*: '\.\./cell\.onnx'"),
    "a variant at the root": Malice(variant("cell.int8.onnx", "/dev/zero"), r"variants .*: '/dev/zero'"),
    "a variant of the manifest": Malice(variant("manifest.json", "golden.int8.json"), r"form without files of its own"),
    "a link out of the folder": Malice(
        replace("cell.onnx", lambda path: path.symlink_to("/etc/passwd")), r"cell\.onnx: is a link"
    ),
    "a manifest that is a link": Malice(
        replace("manifest.json", lambda path: path.symlink_to("/dev/zero")), r"manifest\.json: is a link"
    ),
    "a pipe": Malice(replace("cell.onnx", os.mkfifo), r"cell\.onnx: is not a plain file"),
    "a folder instead of a file": Malice(replace("golden.json", Path.mkdir), r"golden\.json: is not a plain file"),
    "a file that is not there": Malice(lambda f: (f / "cell.onnx").unlink(), r"cell\.onnx: No such file"),
    "a file that changed": Malice(lambda f: swap_last_bytes(f / "cell.onnx"), r"cell\.onnx: sha256 is"),
    "a file that is not listed": Malice(edit(lambda m: m["files"].pop("golden.json")), r"the manifest says nothing"),
    "a sha256 in upper case": Malice(
        edit(lambda m: m["files"].update({"cell.onnx": "A" * 64})), r"no sha256 in lower-case hex for 'cell\.onnx'"
    ),
    "too many files": Malice(
        edit(lambda m: m["files"].update({f"f{i}": "0" * 64 for i in range(100)})), r"files has 102 files, more than 64"
    ),
    # the manifest
    "a manifest nested deep": Malice(
        lambda f: (f / "manifest.json").write_bytes(_DEEP), r"manifest\.json: is nested too deep"
    ),
    "a manifest of 2 MiB": Malice(
        edit(lambda m: m.update(description="x" * (2 << 20))), r"manifest\.json: is larger than 1048576 bytes"
    ),
    "a manifest that is not UTF-8": Malice(
        lambda f: (f / "manifest.json").write_bytes(b'{"name": "\xff\xfe"}'), r"manifest\.json: .*can't decode byte"
    ),
    "a field that nobody knows": Malice(edit(lambda m: m.update(exec="rm")), r'manifest\.json: .*"exec"'),
    "a field twice": Malice(
        lambda f: (f / "manifest.json").write_bytes(b'{"name": "a", "name": "b"}'), r"manifest\.json: .*duplicate"
    ),
    "a name with a path": Malice(edit(lambda m: m.update(name="../other")), r"name is not 1 to 128"),
    "a state of integers": Malice(state(dtype="int64"), r"states has a dtype other than float32"),
    "a state of 16 TiB": Malice(state(shape=[1 << 21, 1 << 21]), r"states has 4398046511104 numbers, more than"),
    "a state of too many digits to say": Malice(
        state(shape=[(1 << 32) - 1] * 460), r"manifest\.json: states has a shape of more than 8 extents"
    ),
    "an encoder's state of too many digits": Malice(
        edit(lambda m: m["encoder"]["states"][0].update(shape=[(1 << 32) - 1] * 50_000)),
        r"manifest\.json: encoder\.states has a shape of more than 8 extents",
        write=write_transducer,
    ),
    "a state that begins nowhere": Malice(state(initial="NaN"), r"states has an initial value that is not finite"),
    "a state of another shape": Malice(state(shape=[2]), r"inputs are .* the manifest says"),
    # the golden run
    "a golden run of nothing": Malice(golden(lambda g: g.clear()), r"golden\.json: is empty"),
    "a golden run outside": Malice(golden(lambda g: g.update(prompt=[26])), r"has a token outside the vocabulary"),
    "a golden run of another cell": Malice(
        golden(lambda g: g["greedy"].__setitem__(3, 0)), r"differs from the recorded one at step 3"
    ),
    "a golden run of 17 MiB": Malice(
        lambda f: rewrite(f, "golden.json", b" " * (17 << 20)), r"golden\.json: is larger than 16777216 bytes"
    ),
    # where numbers are
    "an initializer elsewhere": Malice(
        cell(lambda m: elsewhere(m.graph.initializer[0])), r"initializer 'one' refers to data outside the file"
    ),
    "an attribute elsewhere": Malice(
        cell(lambda m: constant(m, "c", elsewhere(array([1.0], np.float32)))),
        r"Constant\.value refers to data outside the file",
    ),
    "a sub-graph's number elsewhere": Malice(
        cell(lambda m: choose(m, sub_graph([], "w", [elsewhere(array([1.0], np.float32, "w"))]))),
        r"initializer 'w' refers to data outside the file",
        operators=("If",),
    ),
    "a function with a number elsewhere": Malice(cell(call_function), r"has a function of its own, 'Trick'"),
    "weights that are no numbers": Malice(
        cell(lambda m: m.graph.initializer.append(array([np.nan], np.float32, "w"))),
        r"'w' has a number that is not one",
    ),
    "2 GiB that are not there": Malice(
        cell(lambda m: claim(m, [1 << 29])), r"'claimed' says that it has 2147483648 bytes, more than"
    ),
    "more than can be counted": Malice(
        cell(lambda m: claim(m, [1 << 62, 1 << 62])), r"'claimed' says that it has \d{37,} bytes, more than"
    ),
    "more digits than can be said": Malice(
        cell(lambda m: claim(m, [(1 << 63) - 1] * 50_000)), r"'claimed' has a negative extent, or more than 8"
    ),
    "less than it says": Malice(
        cell(lambda m: claim(m, [4], b"\0" * 8)), r"'claimed' does not hold what its extents say"
    ),
    "a negative extent": Malice(cell(lambda m: claim(m, [-1])), r"'claimed' has a negative extent"),
    "a sparse bomb": Malice(
        cell(
            lambda m: m.graph.sparse_initializer.append(
                helper.make_sparse_tensor(array([1.0], np.float32, "s"), array([0]), [1 << 40])
            )
        ),
        r"has a sparse initializer",
    ),
    "a sparse attribute": Malice(
        cell(
            lambda m: add_nodes(
                m,
                [
                    helper.make_node(
                        "Constant",
                        [],
                        ["s"],
                        sparse_value=helper.make_sparse_tensor(array([1.0], np.float32, "v"), array([0]), [1 << 40]),
                    )
                ],
            )
        ),
        r"Constant\.sparse_value is sparse",
    ),
    "a tensor of texts": Malice(
        cell(
            lambda m: m.graph.initializer.append(
                TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])
            )
        ),
        r"initializer 't' is of the type STRING",
    ),
    # what the graph does
    "no graph at all": Malice(
        lambda f: rewrite(f, "cell.onnx", b"\x08\x0a\xff\xff\xff"),
        r"cell\.onnx: not a valid ONNX model: Error parsing message",
    ),
    "a domain of its own": Malice(
        cell(lambda m: m.opset_import.add(domain="com.evil", version=1)), r"imports the domain 'com\.evil'"
    ),
    "an operator of its own": Malice(
        cell(lambda m: add_nodes(m, [helper.make_node("Run", ["h0"], ["x"], domain="com.evil")])),
        r"has the operator com\.evil::Run",
    ),
    "the runtime's operators": Malice(
        cell(lambda m: add_nodes(m, [helper.make_node("FusedMatMul", ["h0", "h0"], ["x"], domain="com.microsoft")])),
        r"has the operator com\.microsoft::FusedMatMul",
    ),
    "a loop": Malice(cell(loop_forever), r"has the operator Loop, which is not allowed here"),
    "a draw of its own": Malice(cell(draw), r"cell\.onnx: has the operator RandomNormal"),
    "an operator in a sub-graph": Malice(
        cell(lambda m: choose(m, sub_graph([helper.make_node("RandomNormal", [], ["x"], shape=[4])], "x"))),
        r"has the operator RandomNormal",
        operators=("If",),
    ),
    "graphs nested deep": Malice(
        cell(lambda m: choose(m, nest(8))), r"has graphs nested deeper than 4", operators=("If",)
    ),
    "graphs nested too deep to parse": Malice(
        nest_bytes, r"cell\.onnx: not a valid ONNX model: Error parsing message", operators=("If",)
    ),
    "too many nodes": Malice(
        cell(lambda m: add_nodes(m, [helper.make_node("Identity", ["h0"], [f"n{i}"]) for i in range(10_001)])),
        r"has more than 10000 nodes",
    ),
    "too many initializers": Malice(
        cell(lambda m: m.graph.initializer.extend(array([i], np.int64, f"i{i}") for i in range(10_001))),
        r"has more than 10000 initializers",
    ),
    "an old opset": Malice(cell(lambda m: set_opset(m, 7)), r"opset 7 is not 18 to 23"),
    "an opset to come": Malice(cell(lambda m: set_opset(m, 1000)), r"opset 1000 is not 18 to 23"),
    "an IR version to come": Malice(cell(lambda m: setattr(m, "ir_version", 99)), r"IR version 99 is not 8 to 11"),
    "a name given twice": Malice(
        cell(lambda m: add_nodes(m, [helper.make_node("Identity", ["h0"], ["x"])] * 2)),
        r"cell\.onnx: not a valid ONNX model: .*'x' has been used as output names multiple times",
    ),
    "nodes in a circle": Malice(
        cell(turn_in_circles), r"cell\.onnx: not a valid ONNX model: .*topologically sorted, however input 'round_b'"
    ),
    "a state of another type": Malice(
        cell(lambda m: set_input_type(m, INT64)), r"inputs are .*'h0': 'int64 \[batch, 1\]'"
    ),
    "a state of a type to come": Malice(
        cell(lambda m: set_input_type(m, 99)), r"inputs are .*'h0': 'type 99 \[batch, 1\]'"
    ),
    "logits of another width": Malice(
        edit(lambda m: m["vocabulary"].append("!")), r"outputs are .* the manifest says .*float32 \[batch, 27\]"
    ),
    "a batch's figures": Malice(cell(normalise), r"cell\.onnx: BatchNormalization is in training mode"),
    "a dropout that drops": Malice(
        cell(drop(initializers=[array(True, np.bool_, "is_training")])), r"cell\.onnx: Dropout is in training mode"
    ),
    "a dropout that may drop": Malice(
        cell(
            drop(
                nodes=[
                    helper.make_node("ReduceMax", ["token"], ["any_token"], keepdims=0),
                    helper.make_node("Cast", ["any_token"], ["is_training"], to=BOOL),
                ]
            )
        ),
        r"cell\.onnx: Dropout is in training mode, where it draws, or may be",
    ),
    # what one caller's row has to do with another's
    "the largest state of all": Malice(cell(peek()), r"cell\.onnx: a row's result depends on its neighbours"),
    "a mean over the rows": Malice(
        cell(
            look_aside(
                "h0",
                [
                    helper.make_node("Softmax", ["mine"], ["weights"], axis=0),
                    helper.make_node("Transpose", ["weights"], ["weights_across"]),
                    helper.make_node("MatMul", ["weights_across", "mine"], ["theirs"]),
                ],
                {},
            )
        ),
        r"cell\.onnx: a row's result depends on its neighbours",
    ),
    "a sum along the rows": Malice(
        cell(
            look_aside(
                "h0",
                [
                    helper.make_node("Mul", ["mine", "nil"], ["nils"]),
                    helper.make_node("Exp", ["nils"], ["ones"]),
                    helper.make_node("CumSum", ["mine", "rows"], ["sums"]),
                    helper.make_node("CumSum", ["ones", "rows"], ["counts"]),
                    helper.make_node("Div", ["sums", "counts"], ["theirs"]),
                ],
                {"rows": np.int64(0), "nil": np.float32(0)},
            )
        ),
        r"cell\.onnx: a row's result depends on its neighbours",
    ),
    "the last row's state": Malice(
        cell(
            look_aside(
                "h0",
                [
                    helper.make_node("Transpose", ["mine"], ["across"]),
                    helper.make_node("Gather", ["across", "last"], ["theirs"], axis=1),
                ],
                {"last": np.array([-1])},
            )
        ),
        r"cell\.onnx: a row's result depends on its neighbours",
    ),
    "an encoder that looks aside": Malice(
        graph("encoder.onnx", peek("e0")),
        r"encoder\.onnx: a row's result depends on its neighbours",
        write=write_transducer,
    ),
    # the graphs beside the cell
    **beside("an encoder", "encoder", "axis", write_transducer),
    **beside("a bridge", "bridge", "one", write_transducer),
    **beside("a condition", "condition", "beginnings", write_conditioned),
    "an encoder of another state": Malice(
        graph("encoder.onnx", rename("e0", "e1")),
        r"encoder\.onnx: inputs are .*'e1'.*, the manifest says .*'e0'",
        write=write_transducer,
    ),
    "an encoder that is a link": Malice(
        replace("encoder.onnx", lambda path: path.symlink_to("/etc/passwd")),
        r"encoder\.onnx: is a link",
        write=write_transducer,
    ),
    "a bridge to another state": Malice(
        graph("bridge.onnx", rename("h0", "h1")),
        r"bridge\.onnx: outputs are .*'h1'.*, the manifest says .*'h0'",
        write=write_transducer,
    ),
    "a bridge of another's numbers": Malice(
        graph("bridge.onnx", lambda m: m.graph.initializer[0].CopyFrom(array(2.0, np.float32, "one"))),
        r"golden\.json: this machine's run 0 differs from the recorded one at step 0",
        write=write_transducer,
    ),
    "a condition by another name": Malice(
        graph("condition.onnx", rename("condition", "hint")),
        r"condition\.onnx: inputs are .*'hint'.*, the manifest says .*'condition'",
        write=write_conditioned,
    ),
    "a condition that is not listed": Malice(
        edit(lambda m: m["files"].pop("condition.onnx")),
        r"condition\.onnx: sha256 is .*, the manifest says nothing",
        write=write_conditioned,
    ),
    "a size that values say": Malice(cell(size_of_values), r"ConstantOfShape makes huge as large as values say"),
}
"""What is refused before any runtime sees it, or by the checks around it."""

HEAVY: dict[str, Malice] = {
    "an endless loop": Malice(cell(loop_forever), r"its trial run took longer than 2 s", operators=("Loop",)),
    "a constant of 64 GiB": Malice(
        cell(fill_memory), r"golden\.json: .*ConstantOfShape.*allocate memory .* 68719476736"
    ),
    "a state repeated to 64 GiB": Malice(
        cell(expand_memory), r"golden\.json: .*Expand.*allocate memory .* 137438953472"
    ),
    "the fourth power of the rows": Malice(
        cell(grow_with_rows), r"bundle: .*ConstantOfShape.*allocate memory .* 17179869184"
    ),
    "an encoder of 64 GiB": Malice(
        graph("encoder.onnx", fill_memory),
        r"encoder\.onnx: .*ConstantOfShape.*allocate memory .* 68719476736",
        write=write_transducer,
    ),
    "a bridge of 64 GiB": Malice(
        graph("bridge.onnx", fill_memory),
        r"golden\.json: .*ConstantOfShape.*allocate memory .* 68719476736",
        write=write_transducer,
    ),
    "a condition of 64 GiB": Malice(
        graph("condition.onnx", fill_memory),
        r"golden\.json: .*ConstantOfShape.*allocate memory .* 68719476736",
        write=write_conditioned,
    ),
}
"""What only a trial run can refuse."""

CORPUS |= HEAVY

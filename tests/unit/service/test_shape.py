"""Which fields of a manifest go together, and what graphs they ask for."""

from copy import deepcopy
from typing import Any

import pytest
from google.protobuf import json_format

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_service.models.shape import (
    Signature,
    describe_graphs,
    find_faults,
    generates_tokens,
    is_generative,
    is_plain,
    measure_output,
)

LABELS = {"modality": "MODALITY_LABEL", "width": 2, "names": ["a", "b"]}
VECTOR = {"modality": "MODALITY_VECTOR", "width": 3}


def state(name: str, size: int = 8) -> dict[str, Any]:
    return {"input": name, "output": f"new_{name}", "dtype": "float32", "shape": [size]}


GOOD: dict[str, dict[str, Any]] = {
    "plain": {"task": "TASK_GENERATE", "vocabulary": ["a", "b"], "states": [state("h0")]},
    "tagger": {"task": "TASK_TAG", "vocabulary": ["x", "y"], "states": [state("h0")], "output": LABELS},
    "stateless": {"task": "TASK_TAG", "input": VECTOR, "output": {"modality": "MODALITY_VECTOR", "width": 1}},
    "classifier": {"task": "TASK_CLASSIFY", "states": [state("h0")], "input": VECTOR, "output": LABELS},
    "drawer": {
        "task": "TASK_GENERATE",
        "states": [state("h0")],
        "input": VECTOR,
        "output": VECTOR,
        "condition": {"port": LABELS},
        "feedback": {"start": [0.0, 0.5, 1.0], "length": 4},
    },
    "composer": {
        "task": "TASK_GENERATE",
        "vocabulary": ["a", "b"],
        "states": [state("h0")],
        "condition": {"port": VECTOR},
        "feedback": {"start_token": 0, "end_token": 1},
    },
    "translator": {
        "task": "TASK_TRANSDUCE",
        "vocabulary": ["a", "b"],
        "states": [state("h0")],
        "encoder": {"vocabulary": ["x", "y"], "states": [state("h0", 6), state("c0", 6)], "has_bridge": True},
        "feedback": {"start_token": 0},
    },
    "translator-plain": {
        "task": "TASK_TRANSDUCE",
        "states": [state("h0")],
        "input": VECTOR,
        "output": VECTOR,
        "encoder": {"input": VECTOR, "states": [state("h0")]},
        "feedback": {},
    },
}


def parse(content: dict[str, Any]) -> Manifest:
    return json_format.ParseDict(content, Manifest())


@pytest.mark.parametrize("kind", GOOD)
def test_what_goes_together_has_no_fault(kind: str) -> None:
    assert list(find_faults(parse(GOOD[kind]))) == []


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("plain", {"task": 9}, "task is not one that this server knows"),
    ("plain", {"output": LABELS}, "output does not go with TASK_GENERATE: it is MODALITY_LABEL"),
    ("tagger", {"output": None}, "output does not go with TASK_TAG: it is MODALITY_TOKEN"),
    ("plain", {"output": {"modality": 9}}, "output does not go with TASK_GENERATE: it is 9"),
    ("tagger", {"input": {"modality": 9, "width": 1}}, "input has a modality that this server does not know"),
    ("tagger", {"input": {"width": 2}}, "input.width is 2, which does not go with MODALITY_TOKEN"),
    ("stateless", {"input": {"modality": "MODALITY_VECTOR"}}, "input.width is 0"),
    ("stateless", {"input": VECTOR | {"names": ["a", "b"]}}, "input.names are not 3 different ones"),
    ("stateless", {"input": VECTOR | {"names": ["a", "b", ""]}}, "input.names are not 3 different ones"),
    ("tagger", {"output": LABELS | {"names": ["a", "a"]}}, "output.names are not 2 different ones"),
    ("tagger", {"output": LABELS | {"names": []}}, "output.names has fewer than 2 labels"),
    ("tagger", {"vocabulary": None, "input": LABELS}, "input is a label, which no cell takes"),
    ("tagger", {"vocabulary": ["a"]}, "vocabulary has fewer than 2 tokens"),
    ("tagger", {"vocabulary": ["a", "a"]}, "vocabulary has a token twice"),
    ("tagger", {"vocabulary": ["a", "bc"]}, "vocabulary has a token that is not one character"),
    ("stateless", {"vocabulary": ["a", "b"]}, "vocabulary has tokens, but nothing is one"),
    ("tagger", {"states": [state("token")]}, "states has a name that is empty, used twice, or not a state's"),
    ("tagger", {"states": [state("h0"), state("h0")]}, "states has a name that is"),
    ("tagger", {"states": [state("h0") | {"output": ""}]}, "states has a name that is"),
    ("tagger", {"states": [state("h0") | {"dtype": "float16"}]}, "states has a dtype other than float32"),
    ("tagger", {"states": [state("h0") | {"shape": [4, 0]}]}, "states has a shape without extents"),
    ("tagger", {"states": [state("h0") | {"initial": "NaN"}]}, "states has an initial value that is not finite"),
    ("drawer", {"states": []}, "states has none"),
    ("drawer", {"input": VECTOR | {"width": 4}}, "output is fed back, but is not what input takes"),
    ("plain", {"input": VECTOR}, "output is fed back, but is not what input takes"),
    ("drawer", {"feedback": {"start_token": 0}}, "feedback.start_token does not go with vectors"),
    ("drawer", {"feedback": {"end_token": 0}}, "feedback.end_token does not go with vectors"),
    ("drawer", {"feedback": {"start": [1, 2]}}, "feedback.start has 2 numbers, input has 3"),
    ("drawer", {"feedback": {"start": [1, 2, "NaN"]}}, "feedback.start has a number that is not finite"),
    ("composer", {"feedback": {"start": [1]}}, "feedback.start does not go with tokens"),
    ("composer", {"feedback": {"start_token": 2}}, "feedback.start_token is 2, the vocabulary has 2 tokens"),
    ("composer", {"feedback": {"end_token": 5}}, "feedback.end_token is 5, the vocabulary has 2 tokens"),
    ("classifier", {"feedback": {"length": 3}}, "feedback does not go with TASK_CLASSIFY"),
    ("translator", {"feedback": None}, "feedback is not there, which TASK_TRANSDUCE needs"),
    ("translator", {"encoder": None}, "encoder goes with TASK_TRANSDUCE"),
    ("plain", {"encoder": GOOD["translator"]["encoder"]}, "encoder goes with TASK_TRANSDUCE"),
    ("tagger", {"condition": {"port": LABELS}}, "condition does not go with TASK_TAG"),
    ("translator", {"condition": {"port": LABELS}}, "condition does not go with TASK_TRANSDUCE"),
    ("drawer", {"condition": {}}, "condition.port is a token"),
    ("drawer", {"condition": {"port": LABELS | {"names": []}}}, "condition.port.names has fewer than 2 labels"),
    ("drawer", {"variants": [{"precision": "int8", "cell": "x", "golden": "y"}]}, "variants go with plain generation"),
]

ENCODER_FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("translator", {"input": LABELS, "vocabulary": []}, "encoder.input is a label"),
    ("translator", {"input": {"width": 1}}, "encoder.input.width is 1"),
    ("translator", {"vocabulary": ["x"]}, "encoder.vocabulary has fewer than 2"),
    ("translator-plain", {"vocabulary": ["x", "y"]}, "encoder.vocabulary has tokens, but nothing is one"),
    ("translator", {"states": []}, "encoder.states has none"),
    ("translator", {"states": [state("logits")]}, "encoder.states has a name that"),
    (
        "translator",
        {"states": [state("x") | {"output": "h0"}]},
        "encoder.states has an output that is named as an input",
    ),
    ("translator", {"has_bridge": False}, "encoder.states are not those of the decoder"),
]


@pytest.mark.parametrize(("kind", "change", "words"), FAULTS)
def test_what_does_not_go_together_is_said(kind: str, change: dict[str, Any], words: str) -> None:
    content = {name: value for name, value in (GOOD[kind] | change).items() if value is not None}

    faults = list(find_faults(parse(content)))

    assert any(fault.startswith(words) for fault in faults), faults


@pytest.mark.parametrize(("kind", "change", "words"), ENCODER_FAULTS)
def test_an_encoder_that_does_not_fit_is_said(kind: str, change: dict[str, Any], words: str) -> None:
    content = deepcopy(GOOD[kind])
    content["encoder"] |= change

    faults = list(find_faults(parse(content)))

    assert any(fault.startswith(words) for fault in faults), faults


def test_every_graph_has_its_signature() -> None:
    graphs = describe_graphs(parse(GOOD["translator"]))

    hidden, context = "float32 [batch, 8]", "float32 [batch, 6]"
    new = {"new_h0": context, "new_c0": context}
    assert graphs == {
        "cell.onnx": Signature(
            {"token": "int64 [batch]", "h0": hidden}, {"logits": "float32 [batch, 2]", "new_h0": hidden}
        ),
        "encoder.onnx": Signature({"token": "int64 [batch]", "h0": context, "c0": context}, new),
        "bridge.onnx": Signature(new, {"h0": hidden}),
    }
    drawn = describe_graphs(parse(GOOD["drawer"]))
    vector = "float32 [batch, 3]"
    assert drawn == {
        "cell.onnx": Signature({"input": vector, "h0": hidden}, {"output": vector, "new_h0": hidden}),
        "condition.onnx": Signature({"condition": "float32 [batch, 2]"}, {"h0": hidden}),
    }
    assert [*describe_graphs(parse(GOOD["translator-plain"]))] == ["cell.onnx", "encoder.onnx"]


@pytest.mark.parametrize(
    ("kind", "plain", "tokens", "generative", "width"),
    [
        ("plain", True, True, True, 2),
        ("composer", False, True, True, 2),
        ("drawer", False, False, True, 3),
        ("translator", False, True, True, 2),
        ("translator-plain", False, False, True, 3),
        ("tagger", False, False, False, 2),
        ("stateless", False, False, False, 1),
    ],
)
def test_a_shape_says_what_it_is(kind: str, plain: bool, tokens: bool, generative: bool, width: int) -> None:
    manifest = parse(GOOD[kind])
    found = (is_plain(manifest), generates_tokens(manifest), is_generative(manifest), measure_output(manifest))
    assert found == (plain, tokens, generative, width)

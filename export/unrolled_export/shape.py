"""The shape of a bundle: which graphs its manifest asks for, and what they take and give. Torch-free.

Plain generation is one graph with a token in and logits out; every other shape is that graph with other ports,
and up to three more graphs around it. Knows the rules between a manifest's fields; runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    MODALITY_TOKEN,
    MODALITY_UNSPECIFIED,
    MODALITY_VECTOR,
    TASK_CLASSIFY,
    TASK_GENERATE,
    TASK_TAG,
    TASK_TRANSDUCE,
    Manifest,
    Modality,
    Port,
    State,
    Task,
)
from unrolled_export.errors import BundleError

CELL_FILE, CONDITION_FILE, ENCODER_FILE, BRIDGE_FILE = "cell.onnx", "condition.onnx", "encoder.onnx", "bridge.onnx"
CONDITION = "condition"
OUTPUTS = {MODALITY_TOKEN: "logits", MODALITY_LABEL: "logits", MODALITY_VECTOR: "output"}
Extents = tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Name what a graph takes and gives: extents after the batch axis by tensor name, in order.

    `token` is int64, everything else float32.
    """

    inputs: dict[str, Extents]
    outputs: dict[str, Extents]


def modality(port: Port) -> Modality:
    """Give what a port is; tokens where it does not say."""
    return MODALITY_TOKEN if port.modality == MODALITY_UNSPECIFIED else port.modality


def is_plain(manifest: Manifest) -> bool:
    """Tell whether it is token in, logits of the next token out, and nothing around that."""
    return (
        manifest.task == TASK_GENERATE
        and not manifest.HasField("condition")
        and modality(manifest.input) == modality(manifest.output) == MODALITY_TOKEN
    )


def describe_graphs(manifest: Manifest) -> dict[str, Signature]:
    """Give the signature of every graph in the bundle, by file; the cell is first."""
    graphs = {CELL_FILE: _cell(manifest)}
    initial = _extents(manifest.states)
    if manifest.HasField("condition"):
        graphs[CONDITION_FILE] = Signature({CONDITION: (manifest.condition.port.width,)}, initial)
    if manifest.HasField("encoder"):
        encoder = manifest.encoder
        takes = _takes(encoder.input)
        graphs[ENCODER_FILE] = Signature(takes | _extents(encoder.states), _new_extents(encoder.states))
        if encoder.has_bridge:
            graphs[BRIDGE_FILE] = Signature(_new_extents(encoder.states), initial)
    return graphs


def check_shape(manifest: Manifest) -> None:
    """Accept a manifest whose fields go together.

    Raises:
        BundleError: they do not; the message says which.
    """
    for fault in _faults(manifest):
        raise BundleError(f"manifest.json: {fault}")


def _faults(manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong."""
    task, gives = manifest.task, modality(manifest.output)
    allowed = {
        TASK_GENERATE: {MODALITY_TOKEN, MODALITY_VECTOR},
        TASK_TRANSDUCE: {MODALITY_TOKEN, MODALITY_VECTOR},
        TASK_CLASSIFY: {MODALITY_LABEL, MODALITY_VECTOR},
        TASK_TAG: {MODALITY_LABEL, MODALITY_VECTOR},
    }
    if task not in allowed:
        yield "task is none that this version knows"
        return
    if gives not in allowed[task]:
        yield f"{Task.Name(task)} does not go with an output of {Modality.Name(gives)}"
    has_tokens = MODALITY_TOKEN in {modality(manifest.input), gives}
    yield from _vocabulary_faults("the vocabulary", manifest.vocabulary, has_tokens)
    yield from _port_faults("input", manifest.input)
    yield from _port_faults("output", manifest.output)
    if modality(manifest.input) == MODALITY_LABEL:
        yield "input is a label, which no cell takes"
    yield from _state_faults(manifest.states, task not in {TASK_TAG, TASK_CLASSIFY})
    if task in {TASK_GENERATE, TASK_TRANSDUCE}:
        if (modality(manifest.input), manifest.input.width) != (gives, manifest.output.width):
            yield "outputs are fed back, but input and output are not alike"
        yield from _feedback_faults(manifest)
    elif manifest.HasField("feedback"):
        yield f"{Task.Name(task)} does not go with feedback"
    if manifest.HasField("encoder") != (task == TASK_TRANSDUCE):
        yield "an encoder goes with TASK_TRANSDUCE, and TASK_TRANSDUCE with an encoder"
    if manifest.HasField("condition"):
        yield from _condition_faults(manifest)
    if manifest.HasField("encoder"):
        yield from _encoder_faults(manifest)


def _vocabulary_faults(name: str, tokens: Sequence[str], is_needed: bool) -> Iterator[str]:
    if is_needed and (len(tokens) < 2 or len(set(tokens)) != len(tokens) or any(len(token) != 1 for token in tokens)):
        yield f"{name} must be two or more different single characters"
    if tokens and not is_needed:
        yield f"{name} is there, but nothing is a token"


def _port_faults(name: str, port: Port) -> Iterator[str]:
    kind = modality(port)
    if (port.width > 0) != (kind != MODALITY_TOKEN):
        yield f"{name} has width {port.width}, and is {Modality.Name(kind)}"
    if port.names and (len(port.names) != port.width or len(set(port.names)) != len(port.names) or "" in port.names):
        yield f"{name} needs {port.width} different names, or none"
    if kind == MODALITY_LABEL and (not port.names or port.width < 2):
        yield f"{name} needs two or more labels, each with a name"


def _state_faults(states: Sequence[State], is_needed: bool) -> Iterator[str]:
    names = [name for state in states for name in (state.input, state.output)]
    taken = {"token", "input", "logits", "output", CONDITION}
    if (is_needed and not names) or len(set(names)) != len(names) or "" in names or taken & set(names):
        yield "every state needs an input and an output name of its own"
    for state in states:
        if state.dtype != "float32" or not state.shape or 0 in state.shape:
            yield f"state {state.input} must be float32 of a fixed shape"


def _feedback_faults(manifest: Manifest) -> Iterator[str]:
    feedback, is_token = manifest.feedback, modality(manifest.output) == MODALITY_TOKEN
    if manifest.task == TASK_TRANSDUCE and not manifest.HasField("feedback"):
        yield "TASK_TRANSDUCE needs feedback: what the decoder is fed first"
    size = len(manifest.vocabulary)
    tokens = [getattr(feedback, name) for name in ("start_token", "end_token") if feedback.HasField(name)]
    if tokens and (not is_token or max(tokens) >= size):
        yield f"feedback names a token that is not below {size if is_token else 0}"
    if feedback.start and (is_token or len(feedback.start) != manifest.input.width):
        yield "feedback.start is not one vector of the input's width"


def _condition_faults(manifest: Manifest) -> Iterator[str]:
    port = manifest.condition.port
    if manifest.task != TASK_GENERATE or modality(port) == MODALITY_TOKEN:
        yield "a condition is a label or a vector, and goes with TASK_GENERATE"
    yield from _port_faults(CONDITION, port)


def _encoder_faults(manifest: Manifest) -> Iterator[str]:
    encoder = manifest.encoder
    is_token = modality(encoder.input) == MODALITY_TOKEN
    yield from _vocabulary_faults("the encoder's vocabulary", encoder.vocabulary, is_token)
    yield from _port_faults("encoder.input", encoder.input)
    yield from _state_faults(encoder.states, True)
    if modality(encoder.input) == MODALITY_LABEL:
        yield "encoder.input is a label, which no cell takes"
    if encoder.has_bridge and {state.output for state in encoder.states} & {state.input for state in manifest.states}:
        yield "a state that the encoder gives is named like one that the decoder takes"
    if not encoder.has_bridge and _extents(encoder.states) != _extents(manifest.states):
        yield "the decoder's states are not the encoder's, and there is no bridge"


def _cell(manifest: Manifest) -> Signature:
    size, gives = len(manifest.vocabulary), modality(manifest.output)
    width = size if gives == MODALITY_TOKEN else manifest.output.width
    takes = _takes(manifest.input) | _extents(manifest.states)
    return Signature(takes, {OUTPUTS[gives]: (width,)} | _new_extents(manifest.states))


def _takes(port: Port) -> dict[str, Extents]:
    return {"token": ()} if modality(port) == MODALITY_TOKEN else {"input": (port.width,)}


def _extents(states: Iterable[State]) -> dict[str, Extents]:
    return {state.input: tuple(state.shape) for state in states}


def _new_extents(states: Iterable[State]) -> dict[str, Extents]:
    return {state.output: tuple(state.shape) for state in states}

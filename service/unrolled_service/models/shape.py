"""The shape of a bundle: what its manifest's fields have to do with each other, and what each of its graphs is.

Plain generation is one graph with a token in and logits out. Every other shape is that graph with other ports, and
up to three graphs more that make its first state. Knows the manifest alone; pure, for any thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    MODALITY_TOKEN,
    MODALITY_UNSPECIFIED,
    MODALITY_VECTOR,
    TASK_CLASSIFY,
    TASK_GENERATE,
    TASK_TAG,
    TASK_TRANSDUCE,
    Encoder,
    Feedback,
    Manifest,
    Modality,
    Port,
    State,
    Task,
)

CELL, CONDITION, ENCODER, BRIDGE = "cell.onnx", "condition.onnx", "encoder.onnx", "bridge.onnx"
_GENERATED, _READ = {MODALITY_TOKEN, MODALITY_VECTOR}, {MODALITY_LABEL, MODALITY_VECTOR}
_GIVES = {TASK_GENERATE: _GENERATED, TASK_TRANSDUCE: _GENERATED, TASK_CLASSIFY: _READ, TASK_TAG: _READ}
_RESERVED = {"token", "input", "logits", "output", "condition"}
_Tensors = dict[str, str]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives: element type and extents by tensor name, as in ``float32 [batch, 8]``."""

    inputs: _Tensors
    outputs: _Tensors


def modality(port: Port) -> Modality:
    """Return what a port is: tokens where it does not say."""
    return MODALITY_TOKEN if port.modality == MODALITY_UNSPECIFIED else port.modality


def is_generative(manifest: Manifest) -> bool:
    """Return whether what the cell gives is what it takes next."""
    return manifest.task in {TASK_GENERATE, TASK_TRANSDUCE}


def generates_tokens(manifest: Manifest) -> bool:
    """Return whether tokens are chosen from the cell's logits, and fed back."""
    return is_generative(manifest) and modality(manifest.output) == MODALITY_TOKEN


def is_plain(manifest: Manifest) -> bool:
    """Return whether it is one cell that generates tokens from its initial state."""
    return manifest.task == TASK_GENERATE and generates_tokens(manifest) and not manifest.HasField("condition")


def name_output(port: Port) -> str:
    """Return the name of the tensor that a cell gives at such a port."""
    return "output" if modality(port) == MODALITY_VECTOR else "logits"


def measure_output(manifest: Manifest) -> int:
    """Return O, how many numbers the cell gives at each step."""
    return len(manifest.vocabulary) if modality(manifest.output) == MODALITY_TOKEN else manifest.output.width


def describe_graphs(manifest: Manifest) -> dict[str, Signature]:
    """Return the signature of each graph that the bundle must have, by file name.

    Args:
        manifest: one without faults.
    """
    before, after = _before(manifest.states), _after(manifest.states)
    output = {name_output(manifest.output): _floats(measure_output(manifest))}
    graphs = {CELL: Signature(_taken(manifest.input) | before, output | after)}
    if manifest.HasField("condition"):
        graphs[CONDITION] = Signature({"condition": _floats(manifest.condition.port.width)}, before)
    if manifest.HasField("encoder"):
        encoder = manifest.encoder
        context = _after(encoder.states)
        graphs[ENCODER] = Signature(_taken(encoder.input) | _before(encoder.states), context)
        if encoder.has_bridge:
            graphs[BRIDGE] = Signature(context, before)
    return graphs


def find_faults(manifest: Manifest) -> Iterator[str]:
    """Yield each way in which the fields do not go together, the first one first: it may be what causes the next."""
    task, gives = manifest.task, modality(manifest.output)
    if task not in _GIVES:
        yield "task is not one that this server knows"
        return
    if gives not in _GIVES[task]:
        yield f"output does not go with {Task.Name(task)}: it is {_name(gives)}"
    yield from _find_port_faults("input", manifest.input)
    yield from _find_port_faults("output", manifest.output)
    if modality(manifest.input) == MODALITY_LABEL:
        yield "input is a label, which no cell takes"
    has_tokens = MODALITY_TOKEN in {modality(manifest.input), gives}
    yield from _find_vocabulary_faults("vocabulary", manifest.vocabulary, is_used=has_tokens)
    yield from _find_state_faults("states", manifest.states)
    if is_generative(manifest):
        if not manifest.states:
            yield "states has none"
        if (modality(manifest.input), manifest.input.width) != (gives, manifest.output.width):
            yield "output is fed back, but is not what input takes"
        yield from _find_feedback_faults(manifest.feedback, len(manifest.vocabulary), manifest.input)
    elif manifest.HasField("feedback"):
        yield f"feedback does not go with {Task.Name(task)}"
    yield from _find_company_faults(manifest)
    if manifest.variants and not is_plain(manifest):
        yield "variants go with plain generation alone"


def _find_company_faults(manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with the graphs that make the cell's first state."""
    task = manifest.task
    if task == TASK_TRANSDUCE and not manifest.HasField("feedback"):
        yield "feedback is not there, which TASK_TRANSDUCE needs: what the decoder is fed first"
    if manifest.HasField("encoder") != (task == TASK_TRANSDUCE):
        yield "encoder goes with TASK_TRANSDUCE, and TASK_TRANSDUCE with an encoder"
    if manifest.HasField("condition"):
        if task != TASK_GENERATE:
            yield f"condition does not go with {Task.Name(task)}"
        yield from _find_port_faults("condition.port", manifest.condition.port)
        if modality(manifest.condition.port) == MODALITY_TOKEN:
            yield "condition.port is a token: it takes a label or a vector"
    if manifest.HasField("encoder"):
        yield from _find_encoder_faults(manifest.encoder, manifest.states)


def _find_port_faults(field: str, port: Port) -> Iterator[str]:
    kind = modality(port)
    if kind not in Modality.values():
        yield f"{field} has a modality that this server does not know"
        return
    if (port.width > 0) != (kind != MODALITY_TOKEN):
        yield f"{field}.width is {port.width}, which does not go with {_name(kind)}"
    names = list(port.names)
    if names and (len(names) != port.width or len({*names}) < len(names) or not all(names)):
        yield f"{field}.names are not {port.width} different ones"
    if kind == MODALITY_LABEL and len(names) < 2:
        yield f"{field}.names has fewer than 2 labels"


def _find_vocabulary_faults(field: str, tokens: Sequence[str], *, is_used: bool) -> Iterator[str]:
    if not is_used:
        if tokens:
            yield f"{field} has tokens, but nothing is one"
        return
    if len(tokens) < 2:
        yield f"{field} has fewer than 2 tokens"
    if any(len(token) != 1 for token in tokens):
        yield f"{field} has a token that is not one character"
    if len({*tokens}) < len(tokens):
        yield f"{field} has a token twice"


def _find_state_faults(field: str, states: Sequence[State]) -> Iterator[str]:
    names = [name for state in states for name in (state.input, state.output)]
    if len({*names}) < len(names) or "" in names or _RESERVED & {*names}:
        yield f"{field} has a name that is empty, used twice, or not a state's: {', '.join(sorted(_RESERVED))}"
    if any(state.dtype != "float32" for state in states):
        yield f"{field} has a dtype other than float32"
    if any(0 in state.shape or not state.shape for state in states):
        yield f"{field} has a shape without extents, or with one of 0"
    if not all(isfinite(state.initial) for state in states):
        yield f"{field} has an initial value that is not finite"


def _find_feedback_faults(feedback: Feedback, vocabulary_size: int, port: Port) -> Iterator[str]:
    is_token = modality(port) == MODALITY_TOKEN
    for name in ("start_token", "end_token"):
        if feedback.HasField(name):
            if not is_token:
                yield f"feedback.{name} does not go with vectors"
            elif getattr(feedback, name) >= vocabulary_size:
                yield f"feedback.{name} is {getattr(feedback, name)}, the vocabulary has {vocabulary_size} tokens"
    if feedback.start and is_token:
        yield "feedback.start does not go with tokens"
    elif feedback.start and len(feedback.start) != port.width:
        yield f"feedback.start has {len(feedback.start)} numbers, input has {port.width}"
    if not all(map(isfinite, feedback.start)):
        yield "feedback.start has a number that is not finite"


def _find_encoder_faults(encoder: Encoder, states: Sequence[State]) -> Iterator[str]:
    yield from _find_port_faults("encoder.input", encoder.input)
    if modality(encoder.input) == MODALITY_LABEL:
        yield "encoder.input is a label, which no cell takes"
    has_tokens = modality(encoder.input) == MODALITY_TOKEN
    yield from _find_vocabulary_faults("encoder.vocabulary", encoder.vocabulary, is_used=has_tokens)
    if not encoder.states:
        yield "encoder.states has none"
    yield from _find_state_faults("encoder.states", encoder.states)
    if encoder.has_bridge and {*_after(encoder.states)} & {*_before(states)}:
        yield "encoder.states has an output that is named as an input of states, so that no bridge can be between them"
    if not encoder.has_bridge and _before(encoder.states) != _before(states):
        yield "encoder.states are not those of the decoder, and there is no bridge"


def _taken(port: Port) -> _Tensors:
    name, form = ("token", "int64 [batch]") if modality(port) == MODALITY_TOKEN else ("input", _floats(port.width))
    return {name: form}


def _before(states: Sequence[State]) -> _Tensors:
    return {state.input: _floats(*state.shape) for state in states}


def _after(states: Sequence[State]) -> _Tensors:
    return {state.output: _floats(*state.shape) for state in states}


def _floats(*extents: int) -> str:
    return f"float32 [{', '.join(map(str, ('batch', *extents)))}]"


def _name(kind: Modality) -> str:
    return Modality.Name(kind) if kind in Modality.values() else str(kind)

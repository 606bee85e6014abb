"""Small bundles of every shape, with random weights; quick to make, and they mean nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    MODALITY_VECTOR,
    TASK_CLASSIFY,
    TASK_GENERATE,
    TASK_TAG,
    TASK_TRANSDUCE,
    Condition,
    Encoder,
    Example,
    Examples,
    Feedback,
    Manifest,
    Port,
    Series,
    Vector,
)
from unrolled_export.composition import export_shape
from unrolled_export.config import CellKind, ModelConfig
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import describe_states
from unrolled_export.model import SequenceModel

LETTERS = "abcdefg"
TARGETS = "\nuvwxyz"
NAMES = ("low", "middle", "high")
PLACES = ("across", "down")
WIDTH, HIDDEN, LENGTH = 3, 8, 6

Made = tuple[dict[str, nn.Module], Manifest, list[Example]]


def make_shape(kind: str, folder: Path) -> Path:
    """Write the bundle of a kind, named as the kind is, and return its folder.

    Args:
        kind: one of ``KINDS``.
        folder: where to write it; it must not be there yet.
    """
    torch.manual_seed(len(kind))
    modules, manifest, examples = KINDS[kind]()
    export_shape(modules, manifest, Examples(dataset="noise", examples=examples), name=kind, output=folder)
    return folder


class Perceptron(nn.Module):
    """Answer a vector with logits, without memory."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.answer = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, len(NAMES))

    def forward(self, given: Tensor) -> Tensor:
        """Turn f32 ``[B, F]`` into f32 ``[B, L]``."""
        answer: Tensor = self.answer(torch.tanh(self.hidden(given)))
        return answer


def _layer(kind: CellKind, width: int, outputs: int, *, reads_tokens: bool, hidden: int = HIDDEN) -> SequenceModel:
    model = SequenceModel(ModelConfig(kind, layers=1, hidden=hidden), width, outputs, reads_tokens=reads_tokens)
    with torch.no_grad():
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.6)
        if model.decoder is not None:
            model.decoder.weight *= 4 if reads_tokens else 1  # untrained logits are flat; these have opinions
    return model


def _labels() -> Port:
    return Port(modality=MODALITY_LABEL, width=len(NAMES), names=NAMES)


def _vectors(width: int = WIDTH, names: Sequence[str] = ()) -> Port:
    return Port(modality=MODALITY_VECTOR, width=width, names=names)


def _tokens(size: int, count: int = 4) -> list[Series]:
    random = np.random.default_rng(1)
    return [Series(tokens=random.integers(0, size, 5 + i).tolist()) for i in range(count)]


def _numbers(width: int = WIDTH, count: int = 4) -> list[Series]:
    random = np.random.default_rng(2)
    rows = [random.normal(size=(5 + i, width)).astype(np.float32) for i in range(count)]
    return [Series(vectors=[Vector(values=row.tolist()) for row in each]) for each in rows]


def _read(task: int, kind: CellKind, gives: Port, *, takes_tokens: bool) -> Made:
    """Make a cell that answers every input, or the last one."""
    model = _layer(kind, len(LETTERS) if takes_tokens else WIDTH, gives.width, reads_tokens=takes_tokens)
    manifest = Manifest(task=task, states=describe_states(model.config), output=gives)  # type: ignore[arg-type]
    if takes_tokens:
        manifest.vocabulary.extend(LETTERS)
    else:
        manifest.input.CopyFrom(_vectors())
    inputs = _tokens(len(LETTERS)) if takes_tokens else _numbers()
    return Ensemble(model).steps(), manifest, [Example(inputs=each) for each in inputs]


def _stateless() -> Made:
    manifest = Manifest(task=TASK_TAG, input=_vectors(), output=_labels())
    return {"cell.onnx": Perceptron()}, manifest, [Example(inputs=each) for each in _numbers()]


def _draw(port: Port) -> Made:
    """Make a cell that draws vectors from a condition."""
    model = _layer("gru", WIDTH, WIDTH, reads_tokens=False)
    manifest = Manifest(
        task=TASK_GENERATE,
        states=describe_states(model.config),
        input=_vectors(),
        output=_vectors(),
        condition=Condition(port=port),
        feedback=Feedback(start=[0.5, 0.0, -0.5], length=LENGTH),
    )
    return Ensemble(model, condition=port.width).steps(), manifest, _conditions(port)


def _compose() -> Made:
    """Make a cell that writes tokens from a condition until an end token."""
    model = _layer("lstm", len(TARGETS), len(TARGETS), reads_tokens=True)
    manifest = Manifest(
        task=TASK_GENERATE,
        vocabulary=list(TARGETS),
        states=describe_states(model.config),
        condition=Condition(port=_labels()),
        feedback=Feedback(start_token=0, end_token=0, length=12),
    )
    return Ensemble(model, condition=len(NAMES)).steps(), manifest, _conditions(_labels())


def _conditions(port: Port) -> list[Example]:
    if port.modality == MODALITY_LABEL:
        return [Example(condition=row.tolist()) for row in np.eye(port.width)]
    random = np.random.default_rng(3)
    return [Example(condition=row.astype(np.float32).tolist()) for row in random.normal(size=(4, port.width))]


def _translate(encoder_hidden: int) -> Made:
    """Make an encoder over letters and a decoder over others; of another size it needs a bridge."""
    reader = _layer("gru", len(LETTERS), 0, reads_tokens=True, hidden=encoder_hidden)
    writer = _layer("gru", len(TARGETS), len(TARGETS), reads_tokens=True)
    model = Ensemble(writer, encoder=reader)
    manifest = Manifest(
        task=TASK_TRANSDUCE,
        vocabulary=list(TARGETS),
        states=describe_states(writer.config),
        encoder=Encoder(
            vocabulary=list(LETTERS),
            states=describe_states(reader.config),
            has_bridge=model.bridge is not None,
        ),
        feedback=Feedback(start_token=0, end_token=0, length=12),
    )
    return model.steps(), manifest, [Example(source=each) for each in _tokens(len(LETTERS))]


def _translate_vectors() -> Made:
    reader = _layer("lstm", WIDTH, 0, reads_tokens=False)
    writer = _layer("gru", 2, 2, reads_tokens=False)
    model = Ensemble(writer, encoder=reader)
    manifest = Manifest(
        task=TASK_TRANSDUCE,
        states=describe_states(writer.config),
        input=_vectors(2, PLACES),
        output=_vectors(2, PLACES),
        encoder=Encoder(input=_vectors(), states=describe_states(reader.config), has_bridge=True),
        feedback=Feedback(length=LENGTH),
    )
    return model.steps(), manifest, [Example(source=each) for each in _numbers()]


KINDS: dict[str, Callable[[], Made]] = {
    "tagger": lambda: _read(TASK_TAG, "lstm", _labels(), takes_tokens=True),
    "tagger-vectors": lambda: _read(TASK_TAG, "lstm", _vectors(2, PLACES), takes_tokens=False),
    "stateless": _stateless,
    "classifier": lambda: _read(TASK_CLASSIFY, "gru", _labels(), takes_tokens=False),
    "classifier-tokens": lambda: _read(TASK_CLASSIFY, "gru", _labels(), takes_tokens=True),
    "regressor": lambda: _read(TASK_CLASSIFY, "rnn", _vectors(2, PLACES), takes_tokens=False),
    "drawer": lambda: _draw(_labels()),
    "drawer-vector": lambda: _draw(_vectors(2, PLACES)),
    "composer": _compose,
    "translator": lambda: _translate(HIDDEN - 2),
    "translator-plain": lambda: _translate(HIDDEN),
    "translator-vectors": _translate_vectors,
}
"""How to make each kind: its modules, manifest and examples."""

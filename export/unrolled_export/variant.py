"""A further form of a cell: made from the fp32 graph, measured against it, refused if it loses too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx

from unrolled.v1.bundle_pb2 import Evaluation, Golden, State, Variant
from unrolled_export.errors import CellError
from unrolled_export.golden import record_golden
from unrolled_export.replay import Cell, Tokens
from unrolled_export.sealing import to_bytes

ACCEPTED_LOSS = 0.01
STREAMS = 64
SHORTEST_STREAM = 64


@dataclass(frozen=True)
class Text:
    """Hold a text to measure on.

    Attributes:
        tokens: int64 `[N]`, at least 2.
        dataset: what it is, in words.
    """

    tokens: Tokens
    dataset: str

    @property
    def streams(self) -> int:
        """Count the contiguous pieces it is read in: 64, fewer where they would be shorter than 64 tokens."""
        return max(1, min(STREAMS, len(self.tokens) // SHORTEST_STREAM))


@dataclass(frozen=True)
class Recipe:
    """Say how a variant is made and what it may cost.

    Attributes:
        precision: its name, for instance "int8".
        transform: makes its graph from that of the fp32 cell, with the same inputs and outputs.
        text: what both are measured on.
        accepted_loss: how much worse than fp32 it may be, in nats per character.
    """

    precision: str
    transform: Callable[[onnx.ModelProto], onnx.ModelProto]
    text: Text
    accepted_loss: float = ACCEPTED_LOSS


@dataclass(frozen=True)
class Form:
    """Hold a variant that was made: its graph without metadata, its golden run, its entry in the manifest."""

    graph: onnx.ModelProto
    golden: Golden
    variant: Variant


def make_form(
    recipe: Recipe, graph: onnx.ModelProto, states: Sequence[State], prompts: Sequence[Sequence[int]]
) -> Form:
    """Make a variant of `graph`, an fp32 cell.

    Raises:
        CellError: it loses more than the recipe accepts, or cannot be made.
    """
    transformed = recipe.transform(graph)
    cell = Cell(to_bytes(transformed), states)
    baseline = measure(Cell(to_bytes(graph), states), recipe.text)
    evaluation = measure(cell, recipe.text)
    loss = evaluation.nats_per_char - baseline.nats_per_char
    if not loss <= recipe.accepted_loss:
        raise CellError(
            f"{recipe.precision} loses {loss:.4f} nats per character on {recipe.text.dataset}, "
            f"more than {recipe.accepted_loss:g}: allow it with --accept-loss or stay with fp32"
        )
    variant = Variant(
        precision=recipe.precision,
        cell=f"cell.{recipe.precision}.onnx",
        golden=f"golden.{recipe.precision}.json",
        evaluation=evaluation,
        baseline=baseline,
    )
    return Form(transformed, record_golden(cell, prompts, rounds=True), variant)


def measure(cell: Cell, text: Text) -> Evaluation:
    """Predict every token of a text but the first of each stream, the true one fed and the state carried."""
    streams = text.streams
    pieces = text.tokens[: len(text.tokens) // streams * streams].reshape(streams, -1).T.copy()
    state, rows, total = cell.zero_state(streams), np.arange(streams), 0.0
    for inputs, targets in pairwise(pieces):
        logits, state = cell.step(inputs, state)
        largest = logits.max(axis=1, keepdims=True)
        masses = np.exp(logits - largest).sum(axis=1, dtype=np.float64)
        total += float((np.log(masses) + largest[:, 0] - logits[rows, targets]).sum())
    characters = pieces.size - streams
    nats = total / characters
    return Evaluation(dataset=text.dataset, nats_per_char=nats, bits_per_char=nats / math.log(2), characters=characters)

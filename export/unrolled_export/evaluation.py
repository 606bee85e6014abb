"""How well a model predicts a text: mean negative log-likelihood, state carried throughout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrolled_export.config import Precision
from unrolled_export.model import CharacterModel
from unrolled_export.precision import autocast

CHUNK = 256


@dataclass(frozen=True)
class Evaluation:
    """Hold a measurement.

    Attributes:
        nats_per_char: mean negative log-likelihood in nats.
        characters: characters predicted.
        streams: contiguous pieces the text was read in; 1 is exact.
    """

    nats_per_char: float
    characters: int
    streams: int

    @property
    def bits_per_char(self) -> float:
        """Give the same in bits."""
        return self.nats_per_char / math.log(2)


@torch.no_grad()
def evaluate(
    model: CharacterModel,
    tokens: Tensor,
    *,
    streams: int = 1,
    precision: Precision = "fp32",
    on_chunk: Callable[[int], None] | None = None,
) -> Evaluation:
    """Predict every token of `tokens`, int64 `[N]`, but the first of each of `streams` contiguous pieces.

    With one stream every token but the first is predicted, from all that precede it. `on_chunk` is told the
    tokens predicted so far; what it raises ends the measurement. The model is left in evaluation mode.
    """
    model.eval()
    pieces = tokens[: len(tokens) // streams * streams].view(streams, -1).t()
    total, count, state = 0.0, 0, model.zero_state(streams)
    for start in range(0, len(pieces) - 1, CHUNK):
        targets = pieces[start + 1 : start + 1 + CHUNK]
        inputs = pieces[start : start + len(targets)]
        with autocast(precision):
            logits, state = model(inputs, state)
        total += functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        count += targets.numel()
        if on_chunk is not None:
            on_chunk(count)
    return Evaluation(total / count, count, streams)

"""Many to one: a digit is seen in nine overlapping glimpses of 4 x 4 pixels, then named."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    MODALITY_VECTOR,
    TASK_CLASSIFY,
    Example,
    Examples,
    Manifest,
    Port,
    Series,
)
from unrolled_export.bptt import Batch
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import Lesson, Settings, describe_states
from unrolled_export.model import SequenceModel
from unrolled_export.player import to_series
from unrolled_export.recipes.digits import DATASET, NAMES, Digits, draw_noisy, read_digits

PATCH, STRIDE = 4, 2


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    train, validation, held_out = read_digits()
    config = settings.model("gru", 48, dropout=0.3)
    torch.manual_seed(settings.seed)
    model = Ensemble(SequenceModel(config, PATCH * PATCH, len(NAMES), reads_tokens=False))
    examples = Examples(dataset=DATASET)
    for glimpses, label in zip(look(held_out.images).unbind(1), held_out.labels.tolist(), strict=True):
        examples.examples.append(Example(inputs=to_series(glimpses.numpy()), wanted=Series(tokens=[label])))
    return Lesson(
        model,
        Manifest(
            task=TASK_CLASSIFY,
            states=describe_states(config),
            input=Port(modality=MODALITY_VECTOR, width=PATCH * PATCH),
            output=Port(modality=MODALITY_LABEL, width=len(NAMES), names=NAMES),
        ),
        lambda size: _to_batch(draw_noisy(train, size)),
        _to_batch(validation),
        examples,
        settings.fitting(40, updates=100, batch=64, learning_rate=4e-3, weight_decay=0.05),
    )


def look(images: Tensor) -> Tensor:
    """Cut images f32 `[B, 8, 8]` into glimpses f32 `[9, B, 16]`, from left to right and from top to bottom."""
    patches = images.unfold(1, PATCH, STRIDE).unfold(2, PATCH, STRIDE)
    return patches.reshape(len(images), -1, PATCH * PATCH).transpose(0, 1).contiguous()


def _to_batch(digits: Digits) -> Batch:
    """Ask for the name after the last glimpse alone."""
    glimpses = look(digits.images)
    mask = torch.zeros(glimpses.shape[:2])
    mask[-1] = 1
    return Batch(glimpses, digits.labels.expand(glimpses.shape[:2]).contiguous(), mask)

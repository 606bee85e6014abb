"""One to one: a digit is seen whole and named at once, by a network without any state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import MODALITY_LABEL, MODALITY_VECTOR, TASK_TAG, Example, Examples, Manifest, Port, Series
from unrolled_export.bptt import Batch
from unrolled_export.lesson import Lesson, Pupil, Settings
from unrolled_export.player import to_series
from unrolled_export.recipes.digits import DATASET, NAMES, SIDE, Digits, draw_noisy, read_digits
from unrolled_export.recurrence import Carried

DROPOUT = 0.3


class FeedForward(Pupil):
    """Answer a vector by itself: one hidden layer."""

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, outputs)
        )

    def begin(self, _batch: Batch, /) -> Carried:
        """Begin with nothing."""
        return ()

    def forward(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Answer f32 `[T, B, F]` with f32 `[T, B, O]`."""
        return self.layers(inputs), state

    def steps(self) -> dict[str, nn.Module]:
        """Give the layers: they have no memory."""
        return {"cell.onnx": self.layers}


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    train, validation, held_out = read_digits()
    torch.manual_seed(settings.seed)
    examples = Examples(dataset=DATASET)
    for image, label in zip(held_out.images.flatten(1), held_out.labels.tolist(), strict=True):
        examples.examples.append(Example(inputs=to_series(image[None].numpy()), wanted=Series(tokens=[label])))
    return Lesson(
        FeedForward(SIDE * SIDE, settings.hidden or 64, len(NAMES)),
        Manifest(
            task=TASK_TAG,
            input=Port(modality=MODALITY_VECTOR, width=SIDE * SIDE),
            output=Port(modality=MODALITY_LABEL, width=len(NAMES), names=NAMES),
        ),
        lambda size: _to_batch(draw_noisy(train, size)),
        _to_batch(validation),
        examples,
        settings.fitting(20, updates=100, batch=64, weight_decay=0.05),
    )


def _to_batch(digits: Digits) -> Batch:
    return Batch(digits.images.flatten(1)[None], digits.labels[None])

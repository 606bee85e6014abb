"""One to many: a circle's place and size set the state, then its picture comes quadrant by quadrant."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.v1.bundle_pb2 import (
    MODALITY_VECTOR,
    TASK_GENERATE,
    Condition,
    Example,
    Examples,
    Feedback,
    Manifest,
    Port,
)
from unrolled_export.bptt import Batch
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import Lesson, Settings, describe_states
from unrolled_export.model import SequenceModel
from unrolled_export.player import to_series

SIDE, HALF, QUADRANTS = 16, 8, 4
SOFTNESS = 0.06  # an edge about a pixel wide, so that a pixel knows its share
HELD_OUT, VALIDATION = 200, 256


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    config = settings.model("gru", 40)
    torch.manual_seed(settings.seed)
    cell = SequenceModel(config, HALF * HALF, HALF * HALF, reads_tokens=False, is_share=True)
    apart = torch.Generator().manual_seed(settings.seed + 1)
    circles = draw_circles(HELD_OUT, apart)
    examples = Examples(dataset=f"{HELD_OUT} circles")
    for circle, quadrants in zip(circles, paint(circles).unbind(1), strict=True):
        examples.examples.append(
            Example(condition=circle.tolist(), wanted=to_series(quadrants.round(decimals=3).numpy()))
        )
    pixels = Port(modality=MODALITY_VECTOR, width=HALF * HALF)
    return Lesson(
        Ensemble(cell, condition=3),
        Manifest(
            task=TASK_GENERATE,
            states=describe_states(config),
            input=pixels,
            output=pixels,
            condition=Condition(port=Port(modality=MODALITY_VECTOR, width=3, names=["across", "down", "radius"])),
            feedback=Feedback(length=QUADRANTS),
        ),
        lambda size: _to_batch(draw_circles(size)),
        _to_batch(draw_circles(VALIDATION, apart)),
        examples,
        settings.fitting(20, updates=100, batch=128, learning_rate=4e-3),
    )


def draw_circles(size: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw centres, -1 to 1 across and down with the picture at -1 to 1, and radii: f32 `[B, 3]`."""
    drawn = torch.rand(size, 3, generator=generator)
    return drawn * torch.tensor([1.2, 1.2, 0.4]) + torch.tensor([-0.6, -0.6, 0.25])


def paint(circles: Tensor) -> Tensor:
    """Paint circles as f32 `[4, B, 64]`, 0 to 1: quadrants from left to right and from top to bottom."""
    places = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    across, down, radius = (circles[:, place, None, None] for place in range(3))
    distance = torch.sqrt((places[None, None, :] - across) ** 2 + (places[None, :, None] - down) ** 2)
    images = torch.sigmoid((radius - distance) / SOFTNESS)
    quadrants = images.unfold(1, HALF, HALF).unfold(2, HALF, HALF)
    return quadrants.reshape(len(circles), QUADRANTS, HALF * HALF).transpose(0, 1).contiguous()


def _to_batch(circles: Tensor) -> Batch:
    quadrants = paint(circles)
    fed = torch.cat([torch.zeros_like(quadrants[:1]), quadrants[:-1]])
    return Batch(fed, quadrants, condition=circles)

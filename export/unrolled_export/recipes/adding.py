"""Many to one over a long lag: of 200 numbers two are marked; their sum is asked for at the end.

The adding problem of Hochreiter & Schmidhuber 1997. Always to answer 1 gives a squared error of 1/6. Biases of the
gates are drawn for lags of up to the length (chrono initialisation, Tallec & Ollivier 2018, arXiv:1804.11188); an
Elman cell has no gates, and its gradient does not last that long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import (
    MODALITY_VECTOR,
    TASK_CLASSIFY,
    Example,
    Examples,
    Manifest,
    Port,
    Series,
    Vector,
)
from unrolled_export.bptt import Batch
from unrolled_export.config import CellKind
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import Lesson, Rounds, Settings, describe_states
from unrolled_export.model import SequenceModel
from unrolled_export.player import Player, to_series
from unrolled_export.plot import draw_losses
from unrolled_export.recurrence import Recurrence

LENGTH, HELD_OUT, VALIDATION = 200, 200, 500
SOLVED, GUESSED = 0.01, 1 / 6
COMPARED: tuple[CellKind, ...] = ("lstm", "gru", "rnn")


def prepare(settings: Settings, length: int = LENGTH) -> Lesson:
    """Teach it."""
    config = settings.model("lstm", 24)
    torch.manual_seed(settings.seed)
    cell = SequenceModel(config, 2, 1, reads_tokens=False)
    open_gates(cell.recurrence, config.cell, length)
    apart = torch.Generator().manual_seed(settings.seed + 1)
    examples = Examples(dataset=f"{HELD_OUT} series of {length} numbers")
    numbers, sums = draw_series(HELD_OUT, length, apart)
    for series, wanted in zip(numbers.unbind(1), sums.tolist(), strict=True):
        answer = Series(vectors=[Vector(values=[wanted])])
        examples.examples.append(Example(inputs=to_series(series.numpy()), wanted=answer))
    return Lesson(
        Ensemble(cell),
        Manifest(
            task=TASK_CLASSIFY,
            states=describe_states(config),
            input=Port(modality=MODALITY_VECTOR, width=2, names=["number", "mark"]),
            output=Port(modality=MODALITY_VECTOR, width=1, names=["sum"]),
        ),
        lambda size: _to_batch(*draw_series(size, length)),
        _to_batch(*draw_series(VALIDATION, length, apart)),
        examples,
        settings.fitting(40, updates=50, batch=64, learning_rate=5e-3, enough=0.002),
        companions={
            other: partial(prepare, replace(settings, cell=other), length) for other in COMPARED if other != config.cell
        },
        pictures=partial(draw_cells, config.cell, length),
    )


def draw_series(size: int, length: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw numbers from 0 to 1 and two marks, one in each half: f32 `[T, B, 2]`, and their sums f32 `[B]`."""
    numbers = torch.rand(length, size, generator=generator).round(decimals=3)
    marks = torch.zeros(length, size)
    rows = torch.arange(size)
    for start in (0, length // 2):
        marks[start + torch.randint(length // 2, (size,), generator=generator), rows] = 1
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(dim=0)


@torch.no_grad()
def open_gates(recurrence: Recurrence, cell: CellKind, length: int) -> None:
    """Let every unit of a gated layer remember for a time of its own, between 1 and `length` steps."""
    for name, bias in recurrence.named_parameters():
        if not name.startswith("bias_ih"):
            continue
        gates = {"lstm": 4, "gru": 3, "mingru": 2, "minlstm": 3}.get(cell)
        if gates is None:
            return
        parts = bias.chunk(gates)
        times = torch.log(nn.init.uniform_(torch.empty_like(parts[0]), 1, length - 1))
        keep, enter = {"lstm": (1, 0), "gru": (1, None), "mingru": (None, 0), "minlstm": (0, 1)}[cell]
        if keep is not None:
            parts[keep].copy_(times)
        if enter is not None:
            parts[enter].copy_(-times)


def draw_cells(trained: CellKind, length: int, _player: Player, rounds: Rounds) -> Mapping[str, bytes]:
    """Draw every cell's losses in one plot."""
    curves: dict[str, list[float]] = {
        name if name in COMPARED else trained: [each.validation for each in found] for name, found in rounds.items()
    }
    marks = {"solved": SOLVED, "always 1": GUESSED}
    title = f"Adding two of {length} numbers"
    return {"cells.png": draw_losses(curves, title, "squared error on held-back series", marks)}


def _to_batch(series: Tensor, sums: Tensor) -> Batch:
    targets, mask = torch.zeros(len(series), len(sums), 1), torch.zeros(len(series), len(sums))
    targets[-1, :, 0], mask[-1] = sums, 1
    return Batch(series, targets, mask)

"""One to many: a class sets the state, then its digit is drawn character by character, row under row.

Every picture is 8 rows of 8 characters, from blank to `@`, each row with a line end. What is drawn at temperature
0.6 is shown to the model of digits-glimpses: the share that it recognises is the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    TASK_GENERATE,
    Condition,
    Example,
    Examples,
    Feedback,
    Figure,
    Manifest,
    Port,
    Series,
)
from unrolled_export.bptt import Batch
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import Lesson, Rounds, Settings, describe_states
from unrolled_export.model import SequenceModel
from unrolled_export.player import Player
from unrolled_export.plot import draw_sheet
from unrolled_export.recipes import digits_glimpses
from unrolled_export.recipes.digits import NAMES, SIDE, Digits, draw_noisy, read_digits
from unrolled_export.recipes.digits_glimpses import look
from unrolled_export.replay import Drawing

INKS = " .:-+*#@"
VOCABULARY = INKS + "\n"
LINE_END = len(INKS)
LENGTH = SIDE * (SIDE + 1)
TEMPERATURE, DRAWINGS, SHOWN = 0.6, 20, 6
JUDGE = "digits-glimpses"


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    train, validation, held_out = read_digits()
    config = settings.model("lstm", 80, embedding=16, dropout=0.3)
    torch.manual_seed(settings.seed)
    cell = SequenceModel(config, len(VOCABULARY), len(VOCABULARY), reads_tokens=True)
    examples = Examples(dataset="the first picture of each class in the held-out third")
    for label in range(len(NAMES)):
        tokens = to_tokens(held_out.images[held_out.labels == label][:1])[:, 0]
        wanted = Series(tokens=tokens.tolist())
        examples.examples.append(Example(condition=np.eye(len(NAMES))[label].tolist(), wanted=wanted))
    return Lesson(
        Ensemble(cell, condition=len(NAMES)),
        Manifest(
            task=TASK_GENERATE,
            vocabulary=list(VOCABULARY),
            states=describe_states(config),
            condition=Condition(port=Port(modality=MODALITY_LABEL, width=len(NAMES), names=NAMES)),
            feedback=Feedback(start_token=LINE_END, length=LENGTH),
        ),
        lambda size: _to_batch(draw_noisy(train, size, 0.03)),
        _to_batch(validation),
        examples,
        settings.fitting(20, updates=50, batch=64, learning_rate=5e-3, weight_decay=0.02),
        companions={JUDGE: lambda: digits_glimpses.prepare(Settings(seed=settings.seed, rounds=settings.rounds))},
        measure=recognise,
        pictures=show,
    )


def to_tokens(images: Tensor) -> Tensor:
    """Write images f32 `[B, 8, 8]` in characters: int64 `[72, B]`."""
    inks = torch.round(images * (len(INKS) - 1)).long()
    ends = torch.full((len(images), SIDE, 1), LINE_END)
    return torch.cat([inks, ends], dim=2).flatten(1).t().contiguous()


def to_images(tokens: Tensor) -> Tensor:
    """Undo `to_tokens`; a line end where ink should be is blank."""
    grid = tokens.t().view(-1, SIDE, SIDE + 1)[:, :, :SIDE]
    return torch.where(grid == LINE_END, 0, grid).float() / (len(INKS) - 1)


def draw_digits(player: Player, count: int) -> Digits:
    """Let the exported model draw every class `count` times, the seeds from 1."""
    drawn, labels = [], []
    for label in range(len(NAMES)):
        condition = np.eye(len(NAMES), dtype=np.float32)[[label]]
        for seed in range(1, count + 1):
            drawn.append(torch.from_numpy(player.write(condition, drawing=Drawing(seed, TEMPERATURE))))
            labels.append(label)
    return Digits(to_images(torch.stack(drawn, dim=1)), torch.tensor(labels))


def recognise(player: Player, _examples: Examples, companions: Mapping[str, Lesson]) -> Sequence[Figure]:
    """Show what is drawn to the model of digits-glimpses."""
    judge = companions[JUDGE].model
    drawn = draw_digits(player, DRAWINGS)
    glimpses = look(drawn.images)
    with torch.no_grad():
        answers, _ = judge(glimpses, judge.begin(Batch(glimpses, drawn.labels)))
    right = answers[-1].argmax(dim=1) == drawn.labels
    return [Figure(name="recognised", value=right.float().mean().item(), count=len(right))]


def show(player: Player, _rounds: Rounds) -> Mapping[str, bytes]:
    """Draw a sheet of drawn digits, a column a class."""
    drawn = draw_digits(player, SHOWN)
    sheet = drawn.images.view(len(NAMES), SHOWN, SIDE, SIDE).transpose(0, 1).numpy()
    return {"sheet.png": draw_sheet(sheet, NAMES)}


def _to_batch(digits: Digits) -> Batch:
    tokens = to_tokens(digits.images)
    fed = torch.cat([torch.full_like(tokens[:1], LINE_END), tokens[:-1]])
    return Batch(fed, tokens, condition=torch.eye(len(NAMES))[digits.labels])

"""A recipe trained in a folder.

```
best.pt         what came out
curve.csv/.png  a row a round
…               the recipe's own pictures
```
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_export.composition import trace_shape
from unrolled_export.course import Course, prepare_lesson, write_course
from unrolled_export.errors import CheckpointError
from unrolled_export.files import write_atomically
from unrolled_export.fitting import Round, fit
from unrolled_export.lesson import Lesson, Settings
from unrolled_export.manifest import FORMAT
from unrolled_export.player import Player
from unrolled_export.plot import draw_losses
from unrolled_export.sealing import to_bytes
from unrolled_export.trained import FILE_NAME


def train_course(
    recipe: str,
    settings: Settings,
    folder: Path,
    command: str,
    on_round: Callable[[Round], None],
    on_update: Callable[[], None],
) -> Course:
    """Train a recipe, measure its exported form on held-out items, and write the folder.

    Raises:
        CheckpointError: the folder already holds a run.
        TrainingError: the loss is not finite.
        OSError: the folder cannot be written.
    """
    if (folder / FILE_NAME).exists():
        raise CheckpointError(f"{folder} already holds a run: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    lesson = prepare_lesson(recipe, settings)
    rounds = []
    for each in fit(lesson.model, lesson.draw, lesson.validation, lesson.fitting, on_update):
        rounds.append(each)
        on_round(each)
    player = play(lesson)
    figures = lesson.measure(player, lesson.examples)
    course = Course(recipe, settings, lesson.model.state_dict(), figures, rounds, command)
    files = {"curve.csv": _to_csv(rounds), "curve.png": _draw(recipe, rounds), **lesson.pictures(player, rounds)}
    for file, content in files.items():
        write_atomically(folder / file, content)
    write_course(folder / FILE_NAME, course)
    return course


def play(lesson: Lesson) -> Player:
    """Export a lesson's model in memory."""
    manifest = Manifest(format=FORMAT, name="lesson")
    manifest.MergeFrom(lesson.manifest)
    graphs = trace_shape(lesson.model.steps(), manifest)
    return Player(manifest, {file: to_bytes(graph) for file, graph in graphs.items()})


def _to_csv(rounds: Sequence[Round]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["round", "training", "validation", "is_best"])
    writer.writerows(
        [each.number, f"{each.training:.6g}", f"{each.validation:.6g}", int(each.is_best)] for each in rounds
    )
    return out.getvalue().encode()


def _draw(recipe: str, rounds: Sequence[Round]) -> bytes:
    curves = {"training": [each.training for each in rounds], "validation": [each.validation for each in rounds]}
    return draw_losses(curves, recipe, "loss", {})

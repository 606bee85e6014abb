"""A recipe trained in a folder: the loop, what it writes and when.

```
checkpoint.pt   everything, to continue from   after every round
best.pt         what came out                  at the end
curve.csv/.png  a row a round                  at the end, and when interrupted
…               the recipe's own pictures      at the end
```
A recipe's companions are trained after it, one after the other, and are part of the run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_export.checkpoint import FORMAT, read_tensors, write_tensors
from unrolled_export.composition import trace_shape
from unrolled_export.course import Course, prepare_lesson, write_course
from unrolled_export.errors import CheckpointError
from unrolled_export.files import write_atomically
from unrolled_export.fitting import Fitter, Round
from unrolled_export.interruption import Interrupted, Interruption
from unrolled_export.lesson import Lesson, Settings
from unrolled_export.manifest import EXAMPLES_FILE, to_pretty_json
from unrolled_export.manifest import FORMAT as MANIFEST_FORMAT
from unrolled_export.player import Player
from unrolled_export.plot import draw_losses
from unrolled_export.run import CHECKPOINT
from unrolled_export.sealing import to_bytes
from unrolled_export.trained import FILE_NAME

KIND = "unrolled.course-checkpoint"


class CourseReporter(Protocol):
    """Whoever watches a recipe's training. A part is the recipe itself or one of its companions, by name."""

    def on_update(self, part: str, done: int, total: int, /) -> None:
        """Learn of one update: how many are made, and of how many at most."""

    def on_round(self, part: str, each: Round, /) -> None:
        """Learn of a complete round."""


class CourseRun:
    """Train a recipe in a folder until done or interrupted.

    Attributes:
        recipe: its name.
        fitters: what is trained by part, in order; the last one may not be done.
    """

    def __init__(self, recipe: str, settings: Settings, folder: Path, command: str) -> None:
        self.recipe = recipe
        self.fitters: dict[str, Fitter] = {}
        self._settings = settings
        self._folder = folder
        self._command = command
        self._lesson = prepare_lesson(recipe, settings)
        self._makers: dict[str, Callable[[], Lesson]] = {recipe: lambda: self._lesson, **self._lesson.companions}
        self._lessons: dict[str, Lesson] = {}

    def open(self, *, resume: bool) -> None:
        """Make the folder, or continue from the checkpoint that it has.

        Raises:
            CheckpointError: there is a run and `resume` is false, or it is of another recipe or other settings.
            OSError: the folder cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / CHECKPOINT
        if not file.exists():
            if (self._folder / FILE_NAME).exists():
                raise CheckpointError(f"{self._folder} already holds what was trained: choose another folder")
            return
        if not resume:
            raise CheckpointError(
                f"{self._folder} already holds a run: continue it with --resume or choose another folder"
            )
        content = read_tensors(file, KIND)
        told = {"recipe": self.recipe, **asdict(self._settings)}
        kept = {"recipe": content["recipe"], **content["settings"]}
        differing = [name for name in told if kept.get(name) != told[name]]
        if differing:
            words = ", ".join(f"{name} was {kept.get(name)} and is now {told[name]}" for name in differing)
            raise CheckpointError(f"{file} was made with other settings: {words}")
        try:
            for part, state in content["parts"].items():
                self._begin(part).restore(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{file} is damaged, or was made by another version of the recipe") from error

    def proceed(self, interruption: Interruption, reporter: CourseReporter) -> Course:
        """Train to the end, saving after every round; measure the exported form, and write the folder.

        Raises:
            Interrupted: a signal came; every complete round is saved.
            TrainingError: the loss is not finite; the last checkpoint stands.
            OSError: the folder cannot be written.
        """
        try:
            for part in self._makers:
                self._train(part, interruption, reporter)
        except Interrupted:
            self._draw()
            raise
        for fitter in self.fitters.values():
            fitter.keep_best()
        lesson, rounds = self._lesson, {part: fitter.rounds for part, fitter in self.fitters.items()}
        player = play(lesson)
        figures = lesson.measure(player, lesson.examples, self._lessons)
        for name, picture in lesson.pictures(player, rounds).items():
            write_atomically(self._folder / name, picture)
        self._draw()
        write_atomically(self._folder / EXAMPLES_FILE, to_pretty_json(lesson.examples))
        weights = lesson.model.state_dict()
        course = Course(self.recipe, self._settings, weights, figures, rounds[self.recipe], self._command)
        write_course(self._folder / FILE_NAME, course)
        return course

    def _begin(self, part: str) -> Fitter:
        lesson = self._lessons[part] = self._makers[part]()
        fitter = self.fitters[part] = Fitter(lesson.model, lesson.draw, lesson.validation, lesson.fitting)
        return fitter

    def _train(self, part: str, interruption: Interruption, reporter: CourseReporter) -> None:
        fitter = self.fitters[part] if part in self.fitters else self._begin(part)
        updates, rounds = fitter.config.updates, fitter.config.rounds

        def watch(done: int) -> None:
            interruption.check()
            reporter.on_update(part, len(fitter.rounds) * updates + done, rounds * updates)

        while not fitter.is_done:
            each = fitter.advance(watch)
            self._save()
            reporter.on_round(part, each)
            interruption.check()

    def _save(self) -> None:
        write_tensors(
            self._folder / CHECKPOINT,
            {
                "format": FORMAT,
                "kind": KIND,
                "recipe": self.recipe,
                "settings": asdict(self._settings),
                "parts": {part: fitter.to_content() for part, fitter in self.fitters.items()},
            },
        )

    def _draw(self) -> None:
        rounds = self.fitters[self.recipe].rounds
        if rounds:
            write_atomically(self._folder / "curve.csv", _to_csv(rounds))
            write_atomically(self._folder / "curve.png", _draw(self.recipe, rounds))


def play(lesson: Lesson) -> Player:
    """Export a lesson's model in memory."""
    manifest = Manifest(format=MANIFEST_FORMAT, name="lesson")
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

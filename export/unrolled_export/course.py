"""A recipe trained in a folder, kept in `best.pt`, and written as a bundle.

```
best.pt         the recipe's name, what it was told, the best weights, the figures
curve.csv/.png  a row a round
…               the recipe's own pictures
```
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.v1.bundle_pb2 import Architecture, Evaluation, Examples, Figure, Manifest
from unrolled_export.agreement import FeedReading
from unrolled_export.bptt import Batch
from unrolled_export.checkpoint import FORMAT, read_tensors, write_tensors
from unrolled_export.composition import export_shape, trace_shape
from unrolled_export.errors import CheckpointError
from unrolled_export.files import write_atomically
from unrolled_export.fitting import Round, fit
from unrolled_export.lesson import Lesson, Pupil, Settings
from unrolled_export.manifest import FORMAT as BUNDLE_FORMAT
from unrolled_export.player import Feed, Player
from unrolled_export.plot import draw_losses
from unrolled_export.recipes import RECIPES
from unrolled_export.reference import Floats
from unrolled_export.sealing import to_bytes
from unrolled_export.trained import FILE_NAME

KIND = "unrolled.course"
KEPT_EXAMPLES = 100
CARD = """\
# {name}

{description}

| | |
|---|---|
{rows}

On {dataset}, none of which was trained on. Training: {rounds} rounds; made by

```
{command}
```
{pictures}
"""


@dataclass(frozen=True)
class Course:
    """Hold what came out of a recipe.

    Attributes:
        recipe: its name.
        settings: what it was told.
        weights: of the best round, f32 tensors by name.
        figures: measured by the exported graphs on held-out items.
        rounds: what every round gave.
        command: the command that made it.
    """

    recipe: str
    settings: Settings
    weights: Mapping[str, Tensor]
    figures: Sequence[Figure]
    rounds: Sequence[Round]
    command: str

    def lesson(self) -> Lesson:
        """Make the recipe's lesson again, with the trained weights."""
        lesson = prepare_lesson(self.recipe, self.settings)
        lesson.model.load_state_dict(dict(self.weights))
        lesson.model.eval()
        return lesson


def prepare_lesson(recipe: str, settings: Settings) -> Lesson:
    """Make the lesson of a recipe that trains on sequences."""
    lesson: Lesson = import_module(f"unrolled_export.recipes.{RECIPES[recipe].module}").prepare(settings)
    return lesson


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
    manifest = Manifest(format=BUNDLE_FORMAT, name="lesson")
    manifest.MergeFrom(lesson.manifest)
    graphs = trace_shape(lesson.model.steps(), manifest)
    return Player(manifest, {file: to_bytes(graph) for file, graph in graphs.items()})


def write_course(path: Path, course: Course) -> None:
    """Write `course` atomically."""
    write_tensors(
        path,
        {
            "format": FORMAT,
            "kind": KIND,
            "recipe": course.recipe,
            "settings": asdict(course.settings),
            "weights": {name: weight.detach() for name, weight in course.weights.items()},
            "figures": [(figure.name, figure.value, figure.count) for figure in course.figures],
            "rounds": [asdict(each) for each in course.rounds],
            "command": course.command,
        },
    )


def read_course(path: Path) -> Course | None:
    """Read what a recipe gave, from its file or its folder; None if something else was trained there.

    Raises:
        CheckpointError: there is nothing, or it is damaged.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = read_tensors(file, None)
    if content["kind"] != KIND:
        return None
    try:
        course = _from_content(content)
        course.lesson()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} is damaged: its weights do not fit its settings") from error
    return course


def publish_course(
    course: Course, folder: Path, output: Path, *, name: str, description: str, licence: str, force: bool
) -> Manifest:
    """Write the bundle of what a recipe gave in `folder`.

    Raises:
        CellError: the exported graphs differ from what was trained.
        BundleError: the name or the place will not do.
        OSError: the bundle cannot be written.
    """
    lesson = course.lesson()
    recipe = RECIPES[course.recipe]
    manifest = Manifest()
    manifest.CopyFrom(lesson.manifest)
    manifest.description = description or f"{course.recipe}: {recipe.about}"
    manifest.evaluation.CopyFrom(Evaluation(dataset=lesson.examples.dataset, figures=course.figures))
    manifest.architecture.CopyFrom(_describe(lesson.model))
    pictures = {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}
    pictures |= {"curve.csv": (folder / "curve.csv").read_bytes()} if (folder / "curve.csv").is_file() else {}

    def write_card(whole: Manifest, sizes: Mapping[str, int]) -> str:
        state_bytes = 4 * sum(prod(state.shape) for state in whole.states)
        facts = [("Shape", recipe.shape)]
        facts += [(f"**{figure.name}**", f"**{figure.value:.4f}** over {figure.count:,}") for figure in course.figures]
        facts += [
            ("Parameters", f"{whole.architecture.parameters:,}"),
            ("State of one session", f"{state_bytes} bytes"),
        ]
        facts += [(f"`{file}`", f"{size:,} bytes") for file, size in sizes.items()] + [("Licence", licence)]
        return CARD.format(
            name=whole.name,
            description=whole.description,
            rows="\n".join(f"| {fact} | {value} |" for fact, value in facts),
            dataset=whole.evaluation.dataset,
            rounds=len(course.rounds),
            command=course.command,
            pictures="".join(f"\n![{file}]({file})\n" for file in pictures if file.endswith(".png")),
        )

    kept = Examples(dataset=lesson.examples.dataset, examples=lesson.examples.examples[:KEPT_EXAMPLES])
    return export_shape(
        lesson.model.steps(),
        manifest,
        kept,
        name=name,
        output=output,
        oracles={"the model as it was trained": read_with(lesson.model)},
        write_card=write_card,
        extra_files=pictures,
        force=force,
    )


def read_with(model: Pupil) -> FeedReading:
    """Read with a model in the form in which it is trained: whole sequences at once."""

    @torch.no_grad()
    def read(feed: Feed) -> Floats:
        inputs = torch.from_numpy(feed.inputs)
        condition = None if feed.condition is None else torch.from_numpy(feed.condition)
        source = None if feed.source is None else torch.from_numpy(feed.source)
        lengths = None if source is None else torch.full((source.shape[1],), len(source))
        batch = Batch(inputs, inputs, condition=condition, source=source, lengths=lengths)
        answers, _ = model(inputs, model.begin(batch))
        found: Floats = answers.numpy()
        return found

    return read


def _from_content(content: Mapping[str, Any]) -> Course:
    return Course(
        recipe=content["recipe"],
        settings=Settings(**content["settings"]),
        weights=content["weights"],
        figures=[Figure(name=name, value=value, count=count) for name, value, count in content["figures"]],
        rounds=[Round(**each) for each in content["rounds"]],
        command=content["command"],
    )


def _describe(model: Pupil) -> Architecture:
    parameters = sum(weight.numel() for weight in model.parameters())
    config = getattr(getattr(model, "cell", None), "config", None)
    if config is None:
        return Architecture(cell=type(model).__name__.lower(), parameters=parameters)
    return Architecture(
        cell=config.cell,
        layers=config.layers,
        hidden_size=config.hidden,
        embedding_size=config.embedding,
        parameters=parameters,
    )


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

"""What came out of a recipe, on disk (`best.pt`): its name, what it was told, the best weights, the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from unrolled.v1.bundle_pb2 import Figure
from unrolled_export.checkpoint import FORMAT, read_tensors, write_tensors
from unrolled_export.errors import CheckpointError
from unrolled_export.fitting import Round
from unrolled_export.lesson import Lesson, Settings
from unrolled_export.recipes import RECIPES
from unrolled_export.trained import FILE_NAME

KIND = "unrolled.course"


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


def _from_content(content: Mapping[str, Any]) -> Course:
    return Course(
        recipe=content["recipe"],
        settings=Settings(**content["settings"]),
        weights=content["weights"],
        figures=[Figure(name=name, value=value, count=count) for name, value, count in content["figures"]],
        rounds=[Round(**each) for each in content["rounds"]],
        command=content["command"],
    )

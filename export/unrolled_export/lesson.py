"""What a recipe hands to the trainer: a model, data that is drawn, data that is held out, and how to tell people."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from unrolled.v1.bundle_pb2 import Examples, Figure, Manifest, State
from unrolled_export.bptt import Batch
from unrolled_export.config import CellKind, ModelConfig
from unrolled_export.fitting import Fitted, FittingConfig, Round
from unrolled_export.grading import grade
from unrolled_export.player import Player

Pictures = Callable[[Player, Sequence[Round]], Mapping[str, bytes]]


class Pupil(Fitted):
    """A model that a recipe trains and that becomes a bundle."""

    @abstractmethod
    def steps(self) -> dict[str, nn.Module]:
        """Give the modules to export, without memory, by the file that each one becomes."""


@dataclass(frozen=True)
class Settings:
    """Hold what a caller may say about a recipe; None leaves it to the recipe.

    Attributes:
        seed: start of every random draw, of data and of weights.
        cell: kind of the recurrent layers.
        hidden: units of a layer.
        rounds: most rounds of updates.
        chunk: steps that a gradient goes back; 0 is the whole sequence.
    """

    seed: int = 1
    cell: CellKind | None = None
    hidden: int | None = None
    rounds: int | None = None
    chunk: int = 0

    def model(self, cell: CellKind, hidden: int, layers: int = 1, **more: float) -> ModelConfig:
        """Describe the recurrent layers, with the recipe's defaults."""
        return ModelConfig(self.cell or cell, layers, self.hidden or hidden, **more)  # type: ignore[arg-type]

    def fitting(self, rounds: int, **more: float) -> FittingConfig:
        """Describe the training, with the recipe's defaults."""
        return FittingConfig(rounds=self.rounds or rounds, chunk=self.chunk, seed=self.seed, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Lesson:
    """Hold everything that a recipe decides.

    Attributes:
        model: what is trained, with its first weights.
        manifest: what it is, without name and evaluation.
        draw: gives a training batch of so many sequences.
        validation: what decides which round is best; not trained on.
        examples: held-out items; neither trained on nor looked at before the end.
        fitting: how it is trained.
        measure: measures the exported graphs.
        pictures: draws what goes beside the bundle, by file name.
    """

    model: Pupil
    manifest: Manifest
    draw: Callable[[int], Batch]
    validation: Batch
    examples: Examples
    fitting: FittingConfig
    measure: Callable[[Player, Examples], Sequence[Figure]] = field(
        default=lambda player, examples: [grade(player, examples)]
    )
    pictures: Pictures = field(default=lambda _player, _rounds: {})


def describe_states(config: ModelConfig) -> list[State]:
    """List the states of a cell."""
    return [
        State(input=name, output=f"new_{name}", dtype="float32", shape=[config.hidden]) for name in config.state_names
    ]

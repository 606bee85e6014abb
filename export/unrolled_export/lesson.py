"""What a recipe hands to the trainer: a model, data that is drawn, data that is held out, and how to tell people."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from unrolled.v1.bundle_pb2 import Examples, Figure, Manifest, State
from unrolled_export.bptt import Batch
from unrolled_export.config import CellKind, ModelConfig
from unrolled_export.fitting import Fitted, FittingConfig, Round
from unrolled_export.grading import grade
from unrolled_export.player import Player

Rounds = Mapping[str, Sequence[Round]]
"""What every round gave, of the lesson itself (its recipe's name) and of its companions."""


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
        patience: rounds without a better validation loss after which it stops; 0 is never.
    """

    seed: int = 1
    cell: CellKind | None = None
    hidden: int | None = None
    rounds: int | None = None
    chunk: int = 0
    patience: int = 0

    def model(self, cell: CellKind, hidden: int, layers: int = 1, **more: float) -> ModelConfig:
        """Describe the recurrent layers, with the recipe's defaults."""
        return ModelConfig(self.cell or cell, layers, self.hidden or hidden, **more)  # type: ignore[arg-type]

    def fitting(self, rounds: int, **more: float) -> FittingConfig:
        """Describe the training, with the recipe's defaults."""
        told = {"rounds": self.rounds or rounds, "chunk": self.chunk, "patience": self.patience, "seed": self.seed}
        return FittingConfig(**told, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Lesson:
    """Hold everything that a recipe decides.

    Attributes:
        model: what is trained, with its first weights.
        manifest: what it is, without name and evaluation.
        draw: gives a training batch of so many sequences, by torch's global generator.
        validation: what decides which round is best; not trained on.
        examples: held-out items; neither trained on nor looked at before the end.
        fitting: how it is trained.
        companions: makes, by name, what is trained after it to compare with it or to judge it.
        measure: measures the exported graphs, with the trained companions.
        pictures: draws what goes beside the bundle, by file name.
    """

    model: Pupil
    manifest: Manifest
    draw: Callable[[int], Batch]
    validation: Batch
    examples: Examples
    fitting: FittingConfig
    companions: Mapping[str, Callable[[], Lesson]] = field(default_factory=dict)
    measure: Callable[[Player, Examples, Mapping[str, Lesson]], Sequence[Figure]] = field(
        default=lambda player, examples, _companions: [grade(player, examples)]
    )
    pictures: Callable[[Player, Rounds], Mapping[str, bytes]] = field(default=lambda _player, _rounds: {})


def draw_generator() -> np.random.Generator:
    """Make a generator for data in NumPy, seeded by torch's global one."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, ())))


def describe_states(config: ModelConfig) -> list[State]:
    """List the states of a cell."""
    return [
        State(input=name, output=f"new_{name}", dtype="float32", shape=[config.hidden]) for name in config.state_names
    ]

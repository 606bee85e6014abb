"""Fitting a model to batches of sequences: rounds of updates, a look at held-back data after each, the best kept.

Every random draw, of batches too, is from torch's global generator, so that its state and the numbers here are all
that the next round depends on.

Owns the numbers of a run and nothing else: no files, no console, no clock.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unrolled_export.bptt import Batch, Reduction, backpropagate, compute_loss
from unrolled_export.errors import TrainingError
from unrolled_export.optimiser import make_optimiser, step
from unrolled_export.recurrence import Carried
from unrolled_export.schedule import learning_rate


@dataclass(frozen=True)
class FittingConfig:
    """Describe how a model is fitted.

    Attributes:
        rounds: most rounds of updates.
        updates: updates of a round.
        batch: sequences of an update.
        chunk: steps that a gradient goes back; 0 is the whole sequence.
        learning_rate: peak of the schedule.
        weight_decay: decoupled decay of the matrices.
        clip: largest norm of the gradient.
        reduction: of the losses over time.
        patience: rounds without a better validation loss after which it stops; 0 is never.
        enough: validation loss at which it stops.
        seed: start of every random draw.
    """

    rounds: int = 30
    updates: int = 100
    batch: int = 64
    chunk: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    clip: float = 1.0
    reduction: Reduction = "mean"
    patience: int = 0
    enough: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Round:
    """Hold what a round gave: its number from 1, mean training loss, validation loss, whether it is the best yet."""

    number: int
    training: float
    validation: float
    is_best: bool


class Fitted(nn.Module, ABC):
    """What can be fitted: it begins a batch, then reads it."""

    @abstractmethod
    def begin(self, batch: Batch, /) -> Carried:
        """Make the state from which a batch is read."""


class Fitter:
    """Fit a model in place, a round at a time.

    Args:
        model: what is trained.
        draw: gives a training batch of so many sequences.
        validation: what decides which round is best. It is not trained on.
        config: how.

    Attributes:
        model: what is trained.
        config: how.
        rounds: what every round gave so far.
    """

    def __init__(self, model: Fitted, draw: Callable[[int], Batch], validation: Batch, config: FittingConfig) -> None:
        torch.manual_seed(config.seed)
        self.model = model
        self.config = config
        self.rounds: list[Round] = []
        self._draw = draw
        self._validation = validation
        self._optimiser = make_optimiser(model, config.weight_decay)
        self._best = _copy(model)

    @property
    def is_done(self) -> bool:
        """Tell whether there is no round to come: all are read, or it stops early."""
        config, best, count = self.config, self._find_best(), len(self.rounds)
        if best is None or count >= config.rounds:
            return count >= config.rounds
        return best.validation <= config.enough or 0 < config.patience <= count - best.number

    def advance(self, on_update: Callable[[int], None] = lambda _: None) -> Round:
        """Train for one round.

        Args:
            on_update: told how many updates of the round are made; what it raises ends the round, which then has
                no part in `rounds` or `to_content()`.

        Raises:
            TrainingError: the loss is not finite.
        """
        config, done = self.config, len(self.rounds)
        self.model.train()
        total = 0.0
        for update in range(config.updates):
            share = learning_rate(done * config.updates + update, config.rounds * config.updates, 1.0)
            total += self._update(share * config.learning_rate)
            on_update(update + 1)
        loss, best = validate(self.model, self._validation), self._find_best()
        is_best = best is None or loss < best.validation
        if is_best:
            self._best = _copy(self.model)
        self.rounds.append(Round(done + 1, total / config.updates, loss, is_best))
        return self.rounds[-1]

    def keep_best(self) -> None:
        """Give the model the weights of the best round, and leave it in evaluation mode."""
        self.model.load_state_dict(self._best)
        self.model.eval()

    def to_content(self) -> dict[str, Any]:
        """Give all that the next round depends on, as numbers and tensors. They alias this object's."""
        return {
            "weights": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": self._best,
            "rounds": [asdict(each) for each in self.rounds],
            "random_state": torch.get_rng_state(),
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Become the fitter, of the same model and config, that gave `content` between two rounds."""
        self.model.load_state_dict(content["weights"])
        self._optimiser.load_state_dict(content["optimiser"])
        self._best = content["best"]
        self.rounds = [Round(**each) for each in content["rounds"]]
        torch.set_rng_state(content["random_state"])

    def _find_best(self) -> Round | None:
        return next((each for each in reversed(self.rounds) if each.is_best), None)

    def _update(self, rate: float) -> float:
        self._optimiser.zero_grad()
        batch = self._draw(self.config.batch)
        state = self.model.begin(batch)
        loss, _ = backpropagate(self.model, batch, state, chunk=self.config.chunk, reduction=self.config.reduction)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss}: try a lower learning rate")
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        step(self._optimiser, rate)
        return loss


@torch.no_grad()
def validate(model: Fitted, batch: Batch) -> float:
    """Give the mean loss of `batch` over the steps that count. The model is left in evaluation mode."""
    model.eval()
    answers, _ = model(batch.inputs, model.begin(batch))
    return compute_loss(answers, batch.targets, batch.mask, is_mean=True).item()


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}

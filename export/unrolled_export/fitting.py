"""Fitting a model to batches of sequences: rounds of updates, a look at held-back data after each, the best kept.

Owns the numbers of a run and nothing else: no files, no console, no clock.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unrolled_export.bptt import Batch, Reduction, backpropagate, compute_loss
from unrolled_export.errors import TrainingError
from unrolled_export.recurrence import Carried
from unrolled_export.schedule import learning_rate

BETAS = (0.9, 0.99)


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


def fit(
    model: Fitted,
    draw: Callable[[int], Batch],
    validation: Batch,
    config: FittingConfig,
    on_update: Callable[[], None] = lambda: None,
) -> Iterator[Round]:
    """Fit `model` in place; after the last round it has the weights of the best one.

    Args:
        model: what is trained.
        draw: gives a training batch of so many sequences.
        validation: what decides which round is best. It is not trained on.
        config: how.
        on_update: called after each update; what it raises ends the run.

    Raises:
        TrainingError: the loss is not finite.
    """
    torch.manual_seed(config.seed)
    optimiser = make_optimiser(model, config.learning_rate, config.weight_decay)
    best, best_loss, best_number = _copy(model), math.inf, 0
    for number in range(1, config.rounds + 1):
        model.train()
        total = 0.0
        for update in range(config.updates):
            batch = draw(config.batch)
            rate = learning_rate((number - 1) * config.updates + update, config.rounds * config.updates, 1.0)
            total += _update(model, batch, config, optimiser, rate * config.learning_rate)
            on_update()
        loss = validate(model, validation)
        if loss < best_loss:
            best, best_loss, best_number = _copy(model), loss, number
        yield Round(number, total / config.updates, loss, best_number == number)
        if best_loss <= config.enough or (config.patience and number - best_number >= config.patience):
            break
    model.load_state_dict(best)
    model.eval()


@torch.no_grad()
def validate(model: Fitted, batch: Batch) -> float:
    """Give the mean loss of `batch` over the steps that count. The model is left in evaluation mode."""
    model.eval()
    answers, _ = model(batch.inputs, model.begin(batch))
    return compute_loss(answers, batch.targets, batch.mask, is_mean=True).item()


def make_optimiser(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Make AdamW (Loshchilov & Hutter 2019) that decays matrices only."""
    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)


def _update(model: Fitted, batch: Batch, config: FittingConfig, optimiser: torch.optim.Optimizer, rate: float) -> float:
    optimiser.zero_grad(set_to_none=True)
    loss, _ = backpropagate(model, batch, model.begin(batch), chunk=config.chunk, reduction=config.reduction)
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss}: try a lower learning rate")
    nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return loss


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}

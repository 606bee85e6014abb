"""An exponential moving average of the weights (Polyak & Juditsky 1992, with the usual warm-up)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follow a model's weights with a decay that grows to `decay`.

    Attributes:
        decay: share of the old average kept at each update once warm.
        updates: how many updates it has seen.
        weights: the averages by name, f32, owned by this object.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move each average towards the model's weight; the decay is min(decay, (1 + t) / (10 + t))."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, weight in model.named_parameters():
            self.weights[name].lerp_(weight, 1 - decay)
        self.updates += 1

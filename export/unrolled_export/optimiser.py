"""How a gradient becomes an update: AdamW (Loshchilov & Hutter 2019), which decays matrices and not biases."""

from __future__ import annotations

import torch
from torch import nn

BETAS = (0.9, 0.99)


def make_optimiser(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Make what updates `model`; the rate comes with every update."""
    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


def step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Update the weights once, at learning rate `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()

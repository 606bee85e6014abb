"""How a gradient becomes an update: AdamW for every weight, or Muon for the recurrent layers' matrices.

AdamW (Loshchilov & Hutter 2019) decays matrices and not biases. Muon (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon) replaces a matrix's momentum by an orthogonal matrix near it, so that every
direction moves alike; its size is that of an AdamW update (Liu et al. 2025, arXiv:2502.16982). It needs fewer
updates. torch has one of its own, which multiplies in bf16 on every processor; here the precision is that of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unrolled_export.config import OptimiserKind, Precision
from unrolled_export.precision import autocast

BETAS = (0.9, 0.99)
MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3
ADAMW_RMS = 0.2
DECAY = 1.0  # bounds a matrix's largest singular value by 0.25 sqrt(longer side): without it a long run diverges
REST = 0.5  # AdamW's rate beside Muon's


class Muon(torch.optim.Optimizer):
    """Update matrices by orthogonalised momentum, in Nesterov's form, and let them decay."""

    def __init__(self, matrices: Sequence[Tensor], *, precision: Precision) -> None:
        super().__init__(list(matrices), {"lr": 0.0})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                momentum = state["momentum"]
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonalise(matrix.grad.lerp(momentum, MOMENTUM), self.precision)
                matrix.mul_(1 - group["lr"] * DECAY)
                matrix.add_(update, alpha=-group["lr"] * ADAMW_RMS * max(matrix.shape) ** 0.5)
        return loss


class Optimiser:
    """Update all weights of a model, some by another rule than the others.

    Args:
        parts: the rules, and each one's share of the rate.
    """

    def __init__(self, parts: Mapping[torch.optim.Optimizer, float]) -> None:
        self._parts = parts

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, rate: float) -> None:
        """Update once, at learning rate `rate`."""
        for part, share in self._parts.items():
            for group in part.param_groups:
                group["lr"] = rate * share
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Give all that the next update depends on, beside weights and gradients."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Undo `state_dict`, in an optimiser of a model of the same form."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def make_optimiser(
    model: nn.Module, weight_decay: float, kind: OptimiserKind = "adamw", precision: Precision = "fp32"
) -> Optimiser:
    """Make what updates `model`: with "muon" its recurrent layers' matrices by that, the rest at half the rate.

    `weight_decay` is of the matrices that are AdamW's.
    """
    matrices = [
        weight
        for name, weight in model.named_parameters()
        if kind == "muon" and weight.dim() == 2 and "recurrence" in name
    ]
    taken = {id(matrix) for matrix in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in taken]
    groups = [
        {"params": [weight for weight in rest if weight.dim() > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in rest if weight.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)
    if not matrices:
        return Optimiser({adamw: 1.0})
    return Optimiser({Muon(matrices, precision=precision): 1.0, adamw: REST})


def orthogonalise(matrix: Tensor, precision: Precision = "fp32") -> Tensor:
    """Bring the singular values of f32 `[M, N]` near 1, by Newton and Schulz's iteration with a quintic.

    Three iterations bring those above a hundredth of the matrix's norm between 0.3 and 1.25, which is near enough.
    """
    first, third, fifth = QUINTIC
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.t()
    found = tall / (tall.norm() + 1e-12)
    with autocast(precision):
        for _ in range(ITERATIONS):
            gram = found.t() @ found
            found = first * found + found @ (third * gram + fifth * (gram @ gram))
    near: Tensor = found.float()
    return near if matrix.shape[0] >= matrix.shape[1] else near.t()

"""minGRU and minLSTM: recurrent layers whose gates do not look at the state (Feng et al. 2024, arXiv:2410.01201).

Their state is a weighted sum of what came in, `h' = a h + b` with `a` and `b` known for all steps at once, so
that training scans over time in parallel. The scan is in logarithms, where products of many small factors
neither vanish nor overflow:

```
h_t = exp(A_t) h_0 + exp(A_t + logcumsumexp(log b - A)_t)        A = cumsum(log a)
```
One step at a time, as they are served, they are `MinGruCell` and `MinLstmCell` of `cells`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

MinimalKind = Literal["mingru", "minlstm"]
GATES: dict[str, int] = {"mingru": 2, "minlstm": 3}


class MinimalRecurrence(nn.Module):
    """Stack minimal layers, with the parameters' names and the call of PyTorch's recurrent modules."""

    def __init__(self, kind: MinimalKind, width: int, hidden: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind = kind
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        for layer in range(layers):
            weight = torch.empty(GATES[kind] * hidden, hidden if layer else width)
            self.register_parameter(f"weight_ih_l{layer}", nn.Parameter(nn.init.xavier_uniform_(weight)))
            self.register_parameter(f"bias_ih_l{layer}", nn.Parameter(torch.zeros(GATES[kind] * hidden)))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read f32 `[T, S, F]` from the state f32 `[layers, S, H]`.

        Returns:
            The last layer's states f32 `[T, S, H]`, and the state of every layer after the last step.
        """
        every = self.scan(inputs, state)
        return every[-1], torch.stack([states[-1] for states in every])

    def scan(self, inputs: Tensor, state: Tensor) -> list[Tensor]:
        """Give the states after every step, f32 `[T, S, H]` for each layer."""
        every: list[Tensor] = []
        for layer in range(self.layers):
            below = functional.dropout(every[-1], self.dropout, self.training) if every else inputs
            weight = self.get_parameter(f"weight_ih_l{layer}")
            projected = functional.linear(below, weight, self.get_parameter(f"bias_ih_l{layer}"))
            keep, enter = log_shares(self.kind, projected.float())
            every.append(scan_in_logarithms(keep, enter, state[layer].float()))
        return every


def log_shares(kind: str, projected: Tensor) -> tuple[Tensor, Tensor]:
    """Give the logarithms of what is kept of the state, `a`, and of what enters it, `b`, f32 `[T, S, H]` each."""
    if kind == "mingru":
        update, candidate = projected.chunk(2, dim=-1)
        keep, enter = -functional.softplus(update), -functional.softplus(-update)
    else:
        forget, entering, candidate = projected.chunk(3, dim=-1)
        # The two gates are scaled to a sum of 1: f / (f + i) = sigmoid(log f - log i).
        difference = functional.softplus(-forget) - functional.softplus(-entering)
        keep, enter = -functional.softplus(difference), -functional.softplus(-difference)
    positive = torch.log(functional.relu(candidate) + 0.5)
    return keep, enter + torch.where(candidate >= 0, positive, -functional.softplus(-candidate))


def scan_in_logarithms(keep: Tensor, enter: Tensor, state: Tensor) -> Tensor:
    """Compute `h_t = exp(keep_t) h_(t-1) + exp(enter_t)` for all steps of axis 0 from `state`, of any sign.

    In doubles: where gates are nearly shut the sums of logarithms reach thousands, of which floats keep three digits
    after the point.
    """
    kept = torch.cumsum(keep.double(), dim=0)
    found = torch.exp(kept) * state + torch.exp(kept + torch.logcumsumexp(enter - kept, dim=0))
    return found.float()

"""One time step of each kind of layer, with weights laid out for a runtime.

Matrices are stored `[in, gates x H]`, so that a step is a plain matrix product. What depends on the input
alone (`projected`, f32 `[B, gates x H]`) comes ready from the layer below or from a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerWeights:
    """Hold a layer's weights as PyTorch's recurrent modules store them, gates along axis 0.

    Those of the recurrence are empty where the gates do not look at the state.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class ElmanCell(nn.Module):
    """Step `h' = tanh(W x + U h + b)` (Elman 1990)."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.recurrent = _stored(weights.weight_hh.t())

    @staticmethod
    def input_bias(weights: LayerWeights) -> Tensor:
        """Fold both biases into the input's projection."""
        return weights.bias_ih + weights.bias_hh

    def forward(self, projected: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return `(h',)`, each f32 `[B, H]`."""
        return (torch.tanh(torch.addmm(projected, hidden, self.recurrent)),)


class GruCell(nn.Module):
    """Step a gated recurrent unit (Cho et al. 2014) as PyTorch defines it: reset after the product."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        size = weights.weight_hh.shape[1]
        self.size = size
        self.recurrent = _stored(weights.weight_hh.t())
        self.bias = _stored(torch.cat([torch.zeros(2 * size), weights.bias_hh[2 * size :]]))

    @staticmethod
    def input_bias(weights: LayerWeights) -> Tensor:
        """Fold the biases of the two gates; the candidate's recurrent bias stays inside the reset product."""
        size = weights.weight_hh.shape[1]
        return weights.bias_ih + torch.cat([weights.bias_hh[: 2 * size], torch.zeros(size)])

    def forward(self, projected: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return `(h',)`, each f32 `[B, H]`."""
        recurrent = torch.addmm(self.bias, hidden, self.recurrent)
        reset_x, update_x, new_x = torch.split(projected, self.size, dim=1)
        reset_h, update_h, new_h = torch.split(recurrent, self.size, dim=1)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + reset * new_h)
        return (new + update * (hidden - new),)


class LstmCell(nn.Module):
    """Step a long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al. 2000)."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.size = weights.weight_hh.shape[1]
        self.recurrent = _stored(weights.weight_hh.t())

    @staticmethod
    def input_bias(weights: LayerWeights) -> Tensor:
        """Fold both biases into the input's projection."""
        return weights.bias_ih + weights.bias_hh

    def forward(self, projected: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        """Return `(h', c')`, each f32 `[B, H]`."""
        gates = torch.addmm(projected, hidden, self.recurrent)
        enter, forget, new, leave = torch.split(gates, self.size, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(memory), memory


class MinGruCell(nn.Module):
    """Step a minGRU (Feng et al. 2024): the update gate and the candidate look at the input alone."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.size = weights.weight_ih.shape[0] // 2

    @staticmethod
    def input_bias(weights: LayerWeights) -> Tensor:
        """Give the only bias there is."""
        return weights.bias_ih

    def forward(self, projected: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return `(h',)`, each f32 `[B, H]`."""
        update, candidate = torch.split(projected, self.size, dim=1)
        return (hidden + torch.sigmoid(update) * (_positive(candidate) - hidden),)


class MinLstmCell(nn.Module):
    """Step a minLSTM (Feng et al. 2024): gates of the input alone, scaled to a sum of 1."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.size = weights.weight_ih.shape[0] // 3

    @staticmethod
    def input_bias(weights: LayerWeights) -> Tensor:
        """Give the only bias there is."""
        return weights.bias_ih

    def forward(self, projected: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return `(h',)`, each f32 `[B, H]`."""
        forget, enter, candidate = torch.split(projected, self.size, dim=1)
        # i / (f + i), both parts scaled by the smallest of e^f, e^i and 1, as both gates may be shut
        least = torch.minimum(forget, enter).clamp(max=0.0)
        one, opposite, own = (_small_exp(exponent) for exponent in (least, least - forget, least - enter))
        share = (one + opposite) / (2 * one + opposite + own)
        return (hidden + share * (_positive(candidate) - hidden),)


CellModule = ElmanCell | GruCell | LstmCell | MinGruCell | MinLstmCell
CELLS: dict[str, type[CellModule]] = {
    "rnn": ElmanCell,
    "gru": GruCell,
    "lstm": LstmCell,
    "mingru": MinGruCell,
    "minlstm": MinLstmCell,
}


def _positive(candidate: Tensor) -> Tensor:
    """Map any number to a positive one, smoothly: `x + 0.5` above 0, `sigmoid(x)` below."""
    return torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))


def _small_exp(exponent: Tensor) -> Tensor:
    """Compute `e^x` of numbers up to 0, to 1e-7.

    From sigmoids: runtimes round Exp and Softplus otherwise at the end of an array than within, so that a row's result
    would depend on where it stands.
    """
    return torch.sigmoid(exponent) / torch.sigmoid(-exponent)


def _stored(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone().contiguous(), requires_grad=False)

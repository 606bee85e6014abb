"""The trained character model as one time step: `(token, states...) -> (logits, new states...)`.

The first layer's projection of a one-hot, or of an embedding, is a row of a table, and the table is made
here: one lookup at run time instead of a product.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled_export.cells import CELLS, LayerWeights
from unrolled_export.model import CharacterModel


class CharacterStep(nn.Module):
    """Step a `CharacterModel` without any of PyTorch's recurrent modules."""

    def __init__(self, model: CharacterModel) -> None:
        super().__init__()
        kind = CELLS[model.config.cell]
        layers = [_layer_weights(model.recurrence, layer) for layer in range(model.config.layers)]
        self.states_per_layer = len(model.zero_state(1))
        self.cells = nn.ModuleList(kind(weights) for weights in layers)
        self.inputs = nn.ModuleList(Projection(weights.weight_ih, kind.input_bias(weights)) for weights in layers[1:])
        self.decoder = Projection(model.decoder.weight, model.decoder.bias)
        with torch.no_grad():
            columns = layers[0].weight_ih.t()
            rows = columns if model.embedding is None else model.embedding.weight @ columns
            table = rows + kind.input_bias(layers[0])
        self.table = nn.Parameter(table.contiguous(), requires_grad=False)

    def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Step from int64 `[B]` and the states in order, f32 `[B, H]` each.

        Returns:
            Logits f32 `[B, V]`, then the new states in the same order.
        """
        hidden, after = functional.embedding(token, self.table), list[Tensor]()
        for layer, cell in enumerate(self.cells):
            projected = self.inputs[layer - 1](hidden) if layer else hidden
            start = layer * self.states_per_layer
            new = cell(projected, *states[start : start + self.states_per_layer])
            hidden = new[0]
            after.extend(new)
        return self.decoder(hidden), *after


class Projection(nn.Module):
    """Compute `x W + b` with W stored `[in, out]`."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Project f32 `[B, in]` to f32 `[B, out]`."""
        return torch.addmm(self.bias, inputs, self.weight)


def _layer_weights(recurrence: nn.RNNBase, layer: int) -> LayerWeights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return LayerWeights(*(cast(Tensor, getattr(recurrence, f"{name}_l{layer}")).detach() for name in names))

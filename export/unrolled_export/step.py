"""A trained model as one time step: `(token or input, states...) -> (logits or output, new states...)`.

The first layer's projection of a one-hot, or of an embedding, is a row of a table, and the table is made
here: one lookup at run time instead of a product.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled_export.cells import CELLS, LayerWeights
from unrolled_export.model import SequenceModel
from unrolled_export.recurrence import Recurrence


class RecurrentStep(nn.Module):
    """Step a `SequenceModel` without any of PyTorch's recurrent modules."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        kind = CELLS[model.config.cell]
        layers = [_layer_weights(model.recurrence, layer) for layer in range(model.config.layers)]
        self.states_per_layer = len(model.zero_state(1))
        self.cells = nn.ModuleList(kind(weights) for weights in layers)
        self.inputs = nn.ModuleList(Projection(weights.weight_ih, kind.input_bias(weights)) for weights in layers[1:])
        decoder = model.decoder
        self.decoder = None if decoder is None else Projection(decoder.weight, decoder.bias)
        self.is_share = model.is_share
        self.table: nn.Parameter | None = None
        self.first: nn.Module = nn.Identity()
        with torch.no_grad():
            columns, bias = layers[0].weight_ih.t(), kind.input_bias(layers[0])
            if model.reads_tokens:
                rows = columns if model.embedding is None else model.embedding.weight @ columns
                self.table = nn.Parameter((rows + bias).contiguous(), requires_grad=False)
            else:
                self.first = Projection(layers[0].weight_ih, bias)

    def forward(self, given: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Step from int64 `[B]` or f32 `[B, F]`, and the states in order, f32 `[B, H]` each.

        Returns:
            The answer f32 `[B, O]`, unless the model is an encoder, then the new states in the same order.
        """
        hidden = self.first(given) if self.table is None else functional.embedding(given, self.table)
        after = list[Tensor]()
        for layer, cell in enumerate(self.cells):
            projected = self.inputs[layer - 1](hidden) if layer else hidden
            start = layer * self.states_per_layer
            new = cell(projected, *states[start : start + self.states_per_layer])
            hidden = new[0]
            after.extend(new)
        if self.decoder is None:
            return tuple(after)
        answer = self.decoder(hidden)
        return torch.sigmoid(answer) if self.is_share else answer, *after


class Projection(nn.Module):
    """Compute `x W + b` with W stored `[in, out]`."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Project f32 `[B, in]` to f32 `[B, out]`."""
        return torch.addmm(self.bias, inputs, self.weight)


def _layer_weights(recurrence: Recurrence, layer: int) -> LayerWeights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    found = (getattr(recurrence, f"{name}_l{layer}", torch.zeros(0)) for name in names)
    return LayerWeights(*(cast(Tensor, tensor).detach() for tensor in found))

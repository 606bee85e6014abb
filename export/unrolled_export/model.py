"""The character model as it is trained: one-hot or embedding, recurrent layers, decoder.

Built from PyTorch's own recurrent modules. Time is axis 0 and streams are axis 1 of every sequence.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled_export.config import ModelConfig
from unrolled_export.initialisation import initialise

Carried = tuple[Tensor, ...]
"""What one chunk hands to the next: `(h,)` or `(h, c)`, each f32 `[layers, S, H]`."""


class CharacterModel(nn.Module):
    """Predict the next character at every step of a sequence."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, config.embedding) if config.embedding else None
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        between = config.dropout if config.layers > 1 else 0.0
        width = config.embedding or vocabulary_size
        self.recurrence: nn.RNNBase = kind(width, config.hidden, config.layers, dropout=between)
        self.decoder = nn.Linear(config.hidden, vocabulary_size)
        initialise(self.recurrence, self.decoder, one_hot=self.embedding is None)

    def zero_state(self, streams: int) -> Carried:
        """Make the state at position 0: zeros, each f32 `[layers, streams, H]`."""
        count = 2 if self.config.cell == "lstm" else 1
        return tuple(torch.zeros(self.config.layers, streams, self.config.hidden) for _ in range(count))

    def forward(self, tokens: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Read `tokens`, int64 `[T, S]`, from `state`.

        Returns:
            Logits f32 `[T, S, V]` and the state after the last step. The state is still part of the graph:
            detach it before the next chunk.
        """
        inputs = functional.dropout(self._embed(tokens), self.config.input_dropout, self.training)
        hidden, after = self._recur(inputs, state)
        hidden = functional.dropout(hidden, self.config.dropout, self.training)
        return self.decoder(hidden).float(), tuple(tensor.float() for tensor in after)

    def _embed(self, tokens: Tensor) -> Tensor:
        if self.embedding is not None:
            return cast(Tensor, self.embedding(tokens))
        return functional.one_hot(tokens, self.vocabulary_size).float()

    def _recur(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        before = state if len(state) == 2 else state[0]
        if self.training and self.config.weight_dropout:
            output, after = torch.func.functional_call(self.recurrence, self._dropped(), (inputs, before))
        else:
            output, after = self.recurrence(inputs, before)
        return output, after if isinstance(after, tuple) else (after,)

    def _dropped(self) -> dict[str, Tensor]:
        """Mask the recurrent weights anew (DropConnect, Merity et al. 2017, arXiv:1708.02182)."""
        return {
            name: functional.dropout(weight, self.config.weight_dropout)
            for name, weight in self.recurrence.named_parameters()
            if name.startswith("weight_hh")
        }

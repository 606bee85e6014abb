"""The recurrent layers of a model by their kind, in one form of call."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from unrolled_export.config import ModelConfig
from unrolled_export.minimal import MinimalRecurrence

Carried = tuple[Tensor, ...]
"""What one chunk hands to the next: `(h,)` or `(h, c)`, each f32 `[layers, S, H]`."""
Recurrence = nn.RNNBase | MinimalRecurrence


def build_recurrence(config: ModelConfig, width: int) -> Recurrence:
    """Make the layers, with inputs of `width` numbers."""
    between = config.dropout if config.layers > 1 else 0.0
    if config.cell == "mingru" or config.cell == "minlstm":  # noqa: PLR1714 (mypy narrows no set)
        return MinimalRecurrence(config.cell, width, config.hidden, config.layers, dropout=between)
    make = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
    made: nn.RNNBase = make(width, config.hidden, config.layers, dropout=between)
    return made


def read_to_end(recurrence: Recurrence, inputs: Tensor, lengths: Tensor, state: Carried) -> Carried:
    """Read sequences f32 `[T, S, F]` of different `lengths`, int64 `[S]` of at least 1; give each one's last state."""
    if isinstance(recurrence, MinimalRecurrence):
        rows = torch.arange(len(lengths))
        return (torch.stack([states[lengths - 1, rows] for states in recurrence.scan(inputs, state[0])]),)
    packed: PackedSequence = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    _, after = recurrence(packed, state if len(state) == 2 else state[0])
    return after if isinstance(after, tuple) else (after,)

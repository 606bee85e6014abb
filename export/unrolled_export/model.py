"""A cell as it is trained, over whole sequences: input, recurrent layers, decoder.

Built from PyTorch's own recurrent modules, or from minimal ones. Time is axis 0 and streams are axis 1 of every
sequence.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled_export.config import ModelConfig
from unrolled_export.initialisation import initialise
from unrolled_export.recurrence import Carried, build_recurrence, read_to_end


class SequenceModel(nn.Module):
    """Answer every step of a sequence.

    Args:
        config: its recurrent layers.
        width: V of tokens, or F of vectors.
        outputs: numbers of an answer; 0 answers with the last layer's state, as an encoder does.
        reads_tokens: whether inputs are int64 tokens, fed one-hot or embedded, or f32 vectors.
        is_share: whether answers are squeezed between 0 and 1.
    """

    def __init__(
        self, config: ModelConfig, width: int, outputs: int, *, reads_tokens: bool, is_share: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.outputs = outputs
        self.reads_tokens = reads_tokens
        self.is_share = is_share
        is_embedded = reads_tokens and config.embedding
        self.embedding = nn.Embedding(width, config.embedding) if is_embedded else None
        self.recurrence = build_recurrence(config, config.embedding if is_embedded else width)
        self.decoder = nn.Linear(config.hidden, outputs) if outputs else None
        initialise(self.recurrence, self.decoder, one_hot=reads_tokens and self.embedding is None)

    def zero_state(self, streams: int) -> Carried:
        """Make the state at position 0: zeros, each f32 `[layers, streams, H]`."""
        count = 2 if self.config.cell == "lstm" else 1
        return tuple(torch.zeros(self.config.layers, streams, self.config.hidden) for _ in range(count))

    def forward(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Read `inputs`, int64 `[T, S]` or f32 `[T, S, F]`, from `state`.

        Returns:
            Answers f32 `[T, S, O]` and the state after the last step. The state is still part of the graph:
            detach it before the next chunk.
        """
        hidden, after = self._recur(self._embed(inputs), state)
        hidden = functional.dropout(hidden, self.config.dropout, self.training)
        answers = hidden if self.decoder is None else self.decoder(hidden)
        if self.is_share:
            answers = torch.sigmoid(answers)
        return answers.float(), tuple(tensor.float() for tensor in after)

    def encode(self, inputs: Tensor, lengths: Tensor) -> Carried:
        """Read sequences of different `lengths`, int64 `[S]`, from the zero state; give each one's last state."""
        return read_to_end(self.recurrence, self._embed(inputs), lengths, self.zero_state(len(lengths)))

    def _embed(self, inputs: Tensor) -> Tensor:
        if self.embedding is not None:
            inputs = cast(Tensor, self.embedding(inputs))
        elif self.reads_tokens:
            inputs = functional.one_hot(inputs, self.width).float()
        return functional.dropout(inputs, self.config.input_dropout, self.training)

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


class CharacterModel(SequenceModel):
    """Predict the next character at every step of a sequence."""

    decoder: nn.Linear

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size, vocabulary_size, reads_tokens=True)

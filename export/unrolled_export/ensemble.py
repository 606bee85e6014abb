"""A cell with whatever sets its first state: nothing, a condition, or an encoder with or without a bridge."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled_export.bptt import Batch
from unrolled_export.config import ModelConfig
from unrolled_export.errors import TrainingError
from unrolled_export.lesson import Pupil
from unrolled_export.model import SequenceModel
from unrolled_export.recurrence import Carried
from unrolled_export.step import RecurrentStep


class StateMaker(nn.Module):
    """Make every state of a cell from one vector: `tanh(W x + b)`, cut in pieces."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.pieces = len(config.state_names)
        self.size = config.hidden
        self.layers = config.layers
        self.linear = nn.Linear(width, self.pieces * config.hidden)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Turn f32 `[B, C]` into the states of one step in their order, f32 `[B, H]` each."""
        return torch.split(torch.tanh(self.linear(vector)), self.size, dim=1)


class Bridge(nn.Module):
    """Make the decoder's states from those of the encoder."""

    def __init__(self, encoder: ModelConfig, decoder: ModelConfig) -> None:
        super().__init__()
        self.maker = StateMaker(len(encoder.state_names) * encoder.hidden, decoder)

    def forward(self, *context: Tensor) -> tuple[Tensor, ...]:
        """Turn the encoder's states in their order, f32 `[B, E]` each, into the decoder's."""
        states: tuple[Tensor, ...] = self.maker(torch.cat(context, dim=1))
        return states


class Ensemble(Pupil):
    """Read batches of one shape.

    Args:
        cell: what answers.
        condition: numbers of the condition; 0 is none.
        encoder: what reads a source; None is none.
    """

    def __init__(self, cell: SequenceModel, condition: int = 0, encoder: SequenceModel | None = None) -> None:
        super().__init__()
        self.cell = cell
        self.condition = StateMaker(condition, cell.config) if condition else None
        self.encoder = encoder
        is_same = encoder is None or encoder.config.state_names == cell.config.state_names
        is_same = is_same and (encoder is None or encoder.config.hidden == cell.config.hidden)
        self.bridge = None if encoder is None or is_same else Bridge(encoder.config, cell.config)

    def begin(self, batch: Batch, /) -> Carried:
        """Make the state from which a batch is read.

        Raises:
            TrainingError: the batch lacks what sets it.
        """
        layers = self.cell.config.layers
        if self.condition is not None:
            if batch.condition is None:
                raise TrainingError("the batch has no condition")
            return to_carried(self.condition(batch.condition), layers)
        if self.encoder is None:
            return self.cell.zero_state(batch.inputs.shape[1])
        if batch.source is None or batch.lengths is None:
            raise TrainingError("the batch has no source")
        context = self.encoder.encode(batch.source, batch.lengths)
        return context if self.bridge is None else to_carried(self.bridge(*to_named(context)), layers)

    def forward(self, inputs: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Read a part of a sequence, as the cell does."""
        answers, after = self.cell(inputs, state)
        return answers, after

    def steps(self) -> dict[str, nn.Module]:
        """Give the modules to export, without memory, by the file that each one becomes."""
        modules: dict[str, nn.Module | None] = {
            "cell.onnx": RecurrentStep(self.cell),
            "condition.onnx": self.condition,
            "encoder.onnx": None if self.encoder is None else RecurrentStep(self.encoder),
            "bridge.onnx": self.bridge,
        }
        return {file: module.eval() for file, module in modules.items() if module is not None}


def to_carried(states: tuple[Tensor, ...], layers: int) -> Carried:
    """Stack the states of one step, `h0`, (`c0`,) `h1`, …, by kind."""
    kinds = len(states) // layers
    return tuple(torch.stack(states[kind::kinds]) for kind in range(kinds))


def to_named(carried: Carried) -> list[Tensor]:
    """Undo `to_carried`."""
    return [kind[layer] for layer in range(len(carried[0])) for kind in carried]

"""What a training run is told, as one frozen value that a checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

CellKind = Literal["rnn", "gru", "lstm", "mingru", "minlstm"]
CELL_KINDS: tuple[CellKind, ...] = get_args(CellKind)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class ModelConfig:
    """Describe the recurrent part of a model.

    Attributes:
        cell: kind of the recurrent layers.
        layers: number of recurrent layers, at least 1.
        hidden: units of each layer.
        embedding: size of the learned embedding; 0 feeds one-hot vectors.
        dropout: probability between layers and before the decoder.
        weight_dropout: probability on the recurrent weights, one mask a chunk.
        input_dropout: probability on the input vectors.
    """

    cell: CellKind = "lstm"
    layers: int = 2
    hidden: int = 256
    embedding: int = 0
    dropout: float = 0.0
    weight_dropout: float = 0.0
    input_dropout: float = 0.0

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name the state tensors of one step in order: `h0`, (`c0`,) `h1`, … of every layer."""
        kinds = ("h", "c") if self.cell == "lstm" else ("h",)
        return tuple(f"{kind}{layer}" for layer in range(self.layers) for kind in kinds)


@dataclass(frozen=True)
class TrainingConfig:
    """Describe how a model is trained.

    Attributes:
        streams: contiguous pieces of the text read side by side.
        chunk: time steps between two updates; gradients do not cross its border.
        epochs: passes over the training part.
        learning_rate: peak of the schedule.
        weight_decay: decoupled decay of the matrices, not of biases.
        clip: largest norm of the gradient.
        average: decay of the averaged weights; 0 is off.
        patience: epochs without a better loss after which it stops; 0 is never.
        validation: share of the text held out at its end; 0 is none.
        precision: arithmetic of the forward pass, already resolved.
        seed: start of every random draw.
        moving_borders: begin each epoch at a random offset below `chunk`.
    """

    streams: int = 64
    chunk: int = 100
    epochs: int = 10
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.0
    patience: int = 0
    validation: float = 0.1
    precision: Precision = "fp32"
    seed: int = 1
    moving_borders: bool = True


def to_fields(config: ModelConfig | TrainingConfig) -> dict[str, Any]:
    """Turn a config into plain numbers and strings."""
    return asdict(config)


def differing_fields(config: ModelConfig | TrainingConfig, other: Mapping[str, Any]) -> list[str]:
    """Name the fields in which `other` is not `config`."""
    return [field.name for field in fields(config) if other.get(field.name) != getattr(config, field.name)]

"""Truncated backpropagation through time over the contiguous streams of a text.

A run is a sequence of updates:

1. An epoch begins: an offset is drawn, the state is zero.
2. A chunk of every stream is read from the carried state; the loss is the mean cross entropy over time steps
   and streams.
3. The gradient, which ends at the chunk's border, is clipped and applied; the state is carried on, detached.
4. After the last chunk the held-out text is measured and the next epoch begins.

Owns the numbers of a run and nothing else: no files, no console, no signals, no clock.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unrolled_export.averaging import WeightAverage
from unrolled_export.bptt import Batch, backpropagate
from unrolled_export.config import ModelConfig, TrainingConfig
from unrolled_export.corpus import Corpus
from unrolled_export.errors import TrainingError
from unrolled_export.evaluation import Evaluation, evaluate
from unrolled_export.model import CharacterModel
from unrolled_export.optimiser import make_optimiser, step
from unrolled_export.schedule import learning_rate
from unrolled_export.streams import Streams

VALIDATION_STREAMS = 16


@dataclass
class Progress:
    """Say where a run is.

    Attributes:
        epoch: epochs completed.
        chunk: chunks of the current epoch completed.
        offset: token at which the current epoch began.
        loss_sum: sum of the losses of those chunks, nats per character each.
    """

    epoch: int = 0
    chunk: int = 0
    offset: int = 0
    loss_sum: float = field(default=0.0)


class Trainer:
    """Train one character model on one corpus, one chunk at a time."""

    def __init__(self, model: ModelConfig, training: TrainingConfig, corpus: Corpus) -> None:
        torch.manual_seed(training.seed)
        self.config = training
        self.corpus = corpus
        self.streams = Streams.of(
            corpus.training,
            training.streams,
            training.chunk,
            moving=training.moving_borders,
            name=corpus.name,
        )
        self.model = CharacterModel(model, len(corpus.vocabulary))
        self.optimiser = make_optimiser(self.model, training.weight_decay)
        self.average = WeightAverage(self.model, training.average) if training.average else None
        self.progress = Progress()
        self.state = self.model.zero_state(training.streams)
        self._judge = copy.deepcopy(self.model)

    @property
    def is_done(self) -> bool:
        """Tell whether every epoch is complete."""
        return self.progress.epoch >= self.config.epochs

    @property
    def is_epoch_read(self) -> bool:
        """Tell whether the last chunk of the epoch was read and `finish_epoch` is due."""
        return self.progress.chunk == self.streams.chunks

    @property
    def step(self) -> int:
        """Count the updates made."""
        return self.progress.epoch * self.streams.chunks + self.progress.chunk

    @property
    def rate(self) -> float:
        """Give the learning rate of the next update."""
        return learning_rate(self.step, self.config.epochs * self.streams.chunks, self.config.learning_rate)

    def weights(self) -> dict[str, Tensor]:
        """Give the weights to keep: the averaged ones where averaging is on. They alias the trainer's."""
        return self.average.weights if self.average is not None else dict(self.model.named_parameters())

    def advance(self) -> float:
        """Read one chunk and update the weights.

        Returns:
            The chunk's loss in nats per character.

        Raises:
            TrainingError: the loss is not finite.
        """
        progress = self.progress
        if progress.chunk == 0:
            progress.offset = int(torch.randint(self.streams.offsets, ()))
            self.state = self.model.zero_state(self.config.streams)
        inputs, targets = self.streams.read(progress.chunk, progress.offset)
        self.model.train()
        self.optimiser.zero_grad()
        value, after = backpropagate(self.model, Batch(inputs, targets), self.state, precision=self.config.precision)
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at update {self.step}: try a lower --learning-rate or --clip")
        self._update()
        self.state = after
        progress.loss_sum += value
        progress.chunk += 1
        return value

    def finish_epoch(self) -> tuple[float, Evaluation | None]:
        """Close the epoch.

        Returns:
            The mean training loss in nats per character, and the measurement on held-out text if any is.
        """
        train = self.progress.loss_sum / self.progress.chunk
        held_out = self.corpus.validation
        measured = None
        if len(held_out):
            streams = max(1, min(VALIDATION_STREAMS, len(held_out) // self.config.chunk))
            measured = evaluate(self.judge(), held_out, streams=streams, precision=self.config.precision)
        self.progress = Progress(epoch=self.progress.epoch + 1)
        return train, measured

    def judge(self) -> CharacterModel:
        """Give a copy of the model that has the weights to keep. It is reused by the next call."""
        self._judge.load_state_dict(self.weights())
        return self._judge

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        step(self.optimiser, self.rate)
        if self.average is not None:
            self.average.update(self.model)

"""Truncated backpropagation: what crosses a chunk's border and what does not."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from unrolled_export.averaging import WeightAverage
from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig, Precision, TrainingConfig
from unrolled_export.corpus import Corpus
from unrolled_export.errors import TrainingError
from unrolled_export.evaluation import evaluate
from unrolled_export.model import CharacterModel
from unrolled_export.precision import resolve_precision
from unrolled_export.schedule import learning_rate
from unrolled_export.streams import Streams
from unrolled_export.training import Trainer

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


def _trainer(cell: CellKind = "lstm", hidden: int = 8, precision: Precision = "fp32", rate: float = 1e-2) -> Trainer:
    config = TrainingConfig(streams=3, chunk=11, epochs=2, learning_rate=rate, precision=precision)
    return Trainer(ModelConfig(cell=cell, hidden=hidden), config, Corpus.of(TEXT, "fox", 0.1))


@pytest.mark.parametrize("moving", [True, False])
def test_chunks_continue_each_other(moving: bool) -> None:
    tokens = torch.arange(1000)
    streams = Streams.of(tokens, 4, 9, moving=moving, name="numbers")
    assert streams.offsets == (9 if moving else 1)
    for offset in range(streams.offsets):
        seen: list[int] = []
        end = torch.empty(0)
        for index in range(streams.chunks):
            inputs, targets = streams.read(index, offset)
            assert inputs.shape == targets.shape == (9, 4)
            assert torch.equal(targets, inputs + 1)
            if index:
                assert torch.equal(inputs[0], end)
            end = targets[-1]
            seen += inputs.flatten().tolist()
        assert len(seen) == len(set(seen)) >= 1000 - 4 * 9 - 9


@pytest.mark.parametrize("cell", CELL_KINDS)
def test_gradient_ends_at_the_border_and_the_state_crosses_it(cell: CellKind) -> None:
    trainer = _trainer(cell)
    trainer.advance()
    assert all(not tensor.requires_grad and tensor.grad_fn is None for tensor in trainer.state)
    assert any(tensor.abs().max() > 0 for tensor in trainer.state)
    before, carried = copy.deepcopy(trainer.model), [tensor.clone() for tensor in trainer.state]
    inputs, targets = trainer.streams.read(1, trainer.progress.offset)
    constants = tuple(tensor.clone().requires_grad_() for tensor in carried)
    logits, after = before(inputs, constants)
    before.zero_grad()
    functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(before.parameters(), trainer.config.clip)
    trainer.advance()
    for mine, theirs in zip(trainer.model.parameters(), before.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(trainer.state, after, strict=True))


def test_state_is_zero_when_an_epoch_begins() -> None:
    trainer = _trainer()
    while not trainer.is_epoch_read:
        trainer.advance()
    trainer.finish_epoch()
    begun = copy.deepcopy(trainer.model).train()
    trainer.advance()
    inputs, _ = trainer.streams.read(0, trainer.progress.offset)
    _, after = begun(inputs, begun.zero_state(3))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(trainer.state, after, strict=True))


@pytest.mark.parametrize("cell", CELL_KINDS)
def test_bf16_trains(cell: CellKind) -> None:
    trainer = _trainer(cell, hidden=32, precision="bf16")
    losses = []
    while not trainer.is_epoch_read:
        losses.append(trainer.advance())
    assert losses[-1] < losses[0]
    assert all(tensor.dtype == torch.float32 for tensor in [*trainer.state, *trainer.model.parameters()])
    _, measured = trainer.finish_epoch()
    assert measured is not None
    assert math.isfinite(measured.nats_per_char)


def test_loss_that_is_not_finite_is_told() -> None:
    trainer = _trainer()
    with torch.no_grad():
        trainer.model.decoder.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="learning-rate"):
        trainer.advance()


def test_evaluation_predicts_every_character_but_the_first() -> None:
    torch.manual_seed(0)
    model = CharacterModel(ModelConfig(hidden=8), 5).eval()
    tokens = torch.randint(5, (700,))
    with torch.no_grad():
        logits, _ = model(tokens[:-1, None], model.zero_state(1))
    wanted = functional.cross_entropy(logits[:, 0], tokens[1:]).item()
    measured = evaluate(model, tokens)
    assert measured.characters == 699
    assert measured.nats_per_char == pytest.approx(wanted, rel=1e-5)
    assert measured.bits_per_char == pytest.approx(wanted / math.log(2), rel=1e-5)


def test_average_warms_up_early() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = WeightAverage(layer, 0.5)
    torch.nn.init.constant_(layer.weight, 1.0)
    followed = []
    for _ in range(3):
        average.update(layer)
        followed.append(average.weights["weight"].item())
    first = 1 - 1 / 10
    assert followed[:2] == pytest.approx([first, first + (1 - first) * (1 - 2 / 11)])


def test_learning_rate_rises_and_falls_to_two_percent() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 50)
    assert max(rates) == rates[50] == 1.0
    assert rates[1000] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_precision_is_what_was_asked_for() -> None:
    assert resolve_precision("bf16", 8) == "bf16"
    assert resolve_precision("fp32", 512) == "fp32"
    assert resolve_precision("auto", 64) == "fp32"

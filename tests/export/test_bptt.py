"""Full and truncated backpropagation through time, against each other and against one by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unrolled_export.bptt import Batch, Reduction, backpropagate
from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig
from unrolled_export.ensemble import Ensemble
from unrolled_export.fitting import Fitter, FittingConfig, validate
from unrolled_export.model import SequenceModel
from unrolled_export.recurrence import Carried

T, B, F, V, H = 12, 3, 4, 5, 6


def _model(cell: CellKind, seed: int = 0) -> SequenceModel:
    torch.manual_seed(seed)
    return SequenceModel(ModelConfig(cell=cell, layers=2, hidden=H), F, V, reads_tokens=False)


def _batch(seed: int = 1, *, masked: bool = False) -> Batch:
    torch.manual_seed(seed)
    mask = (torch.rand(T, B) < 0.6).float() if masked else None
    return Batch(torch.randn(T, B, F), torch.randint(V, (T, B)), mask)


def _gradients(model: SequenceModel, batch: Batch, chunk: int, reduction: Reduction = "mean") -> dict[str, Tensor]:
    model.zero_grad()
    backpropagate(model, batch, model.zero_state(B), chunk=chunk, reduction=reduction)
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def _assert_same(given: dict[str, Tensor], wanted: dict[str, Tensor], *, is_same: bool = True) -> None:
    assert given.keys() == wanted.keys()
    equal = all(torch.allclose(given[name], wanted[name], atol=1e-6, rtol=1e-5) for name in wanted)
    assert equal == is_same


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("cell", CELL_KINDS)
def test_chunk_that_covers_the_sequence_is_full_backpropagation(
    cell: CellKind, reduction: Reduction, masked: bool
) -> None:
    model, batch = _model(cell), _batch(masked=masked)
    logits, _ = model(batch.inputs, model.zero_state(B))
    losses = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none").view(T, B)
    counts = torch.ones(T, B) if batch.mask is None else batch.mask
    loss = (losses * counts).sum() / (counts.sum() if reduction == "mean" else 1)
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    for chunk in (0, T, T + 7):
        _assert_same(_gradients(model, batch, chunk, reduction), wanted)
    _assert_same(_gradients(model, batch, 5, reduction), wanted, is_same=False)


@pytest.mark.parametrize("chunk", [1, 5, 6])
@pytest.mark.parametrize("cell", CELL_KINDS)
def test_state_crosses_a_border_and_the_gradient_does_not(cell: CellKind, chunk: int) -> None:
    model, batch = _model(cell), _batch()
    borders = [*range(0, T, chunk), T]
    states: list[Carried] = [model.zero_state(B)]
    for start, end in pairwise(borders):
        states.append(tuple(state.detach() for state in model(batch.inputs[start:end], states[-1])[1]))
    _, whole = model(batch.inputs, states[0])
    _, after = backpropagate(model, batch, states[0], chunk=chunk)
    for given, wanted, uncut in zip(after, states[-1], whole, strict=True):
        assert torch.equal(given, wanted)
        assert not given.requires_grad
        torch.testing.assert_close(given, uncut, atol=1e-6, rtol=1e-5)
    # Chunks from constant states, each by itself: nothing else can have flowed back.
    total: dict[str, Tensor] = {}
    for (start, end), state in zip(pairwise(borders), states[:-1], strict=True):
        part = Batch(batch.inputs[start:end], batch.targets[start:end])
        for name, gradient in _gradients_from(model, part, state).items():
            total[name] = total.get(name, torch.zeros_like(gradient)) + gradient
    _assert_same(_gradients(model, batch, chunk, "sum"), total)


def _gradients_from(model: SequenceModel, batch: Batch, state: Carried) -> dict[str, Tensor]:
    model.zero_grad()
    backpropagate(model, batch, state, reduction="sum")
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chunk", [T, 4])
def test_gradient_of_an_elman_cell_is_the_one_by_hand(chunk: int) -> None:
    torch.manual_seed(0)
    model = SequenceModel(ModelConfig(cell="rnn", layers=1, hidden=H), F, V, reads_tokens=False)
    batch = _batch()
    weights = {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}
    wanted = _unroll_by_hand(weights, batch.inputs.double().numpy(), batch.targets.numpy(), chunk)
    for name, gradient in _gradients(model, batch, chunk, "sum").items():
        np.testing.assert_allclose(gradient.numpy(), wanted[name], atol=1e-5, rtol=1e-5, err_msg=name)


def _unroll_by_hand(
    weights: dict[str, np.ndarray], inputs: np.ndarray, targets: np.ndarray, chunk: int
) -> dict[str, np.ndarray]:
    """Sum dL/dW over the steps: h = tanh(W x + U h + b + c), y = V h + d, L = -log softmax(y)[target]."""
    enter, recur = weights["recurrence.weight_ih_l0"], weights["recurrence.weight_hh_l0"]
    bias = weights["recurrence.bias_ih_l0"] + weights["recurrence.bias_hh_l0"]
    leave, shift = weights["decoder.weight"], weights["decoder.bias"]
    total = {name: np.zeros_like(weight) for name, weight in weights.items()}
    hidden = [np.zeros((B, H))]
    for row in inputs:
        hidden.append(np.tanh(row @ enter.T + hidden[-1] @ recur.T + bias))
    later = np.zeros((B, H))
    for step in reversed(range(T)):
        if (step + 1) % chunk == 0:
            later = np.zeros((B, H))
        logits = hidden[step + 1] @ leave.T + shift
        error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(V)[targets[step]]
        total["decoder.weight"] += error.T @ hidden[step + 1]
        total["decoder.bias"] += error.sum(axis=0)
        inner = (error @ leave + later) * (1 - hidden[step + 1] ** 2)
        total["recurrence.weight_ih_l0"] += inner.T @ inputs[step]
        total["recurrence.weight_hh_l0"] += inner.T @ hidden[step]
        for name in ("recurrence.bias_ih_l0", "recurrence.bias_hh_l0"):
            total[name] += inner.sum(axis=0)
        later = inner @ recur
    return total


@pytest.mark.parametrize("cell", CELL_KINDS)
def test_padding_changes_neither_the_loss_nor_the_context(cell: CellKind) -> None:
    torch.manual_seed(0)
    config = ModelConfig(cell=cell, layers=2, hidden=H)
    encoder = SequenceModel(config, F, 0, reads_tokens=False).eval()
    source, lengths = torch.randn(T, B, F), torch.tensor([T, 1, 7])
    with torch.no_grad():
        context = encoder.encode(source, lengths)
        for row, length in enumerate(lengths.tolist()):
            _, alone = encoder(source[:length, row : row + 1], encoder.zero_state(1))
            for given, wanted in zip(context, alone, strict=True):
                torch.testing.assert_close(given[:, row], wanted[:, 0], atol=1e-6, rtol=1e-5)


def _copying(size: int) -> Batch:
    inputs = torch.randint(V, (6, size))
    return Batch(functional.one_hot(inputs, F + 1).float()[:, :, :F], inputs)


def test_fitting_keeps_the_best_and_stops_early() -> None:
    def train(**told: float) -> tuple[list[int], list[bool], Tensor]:
        torch.manual_seed(3)
        model = Ensemble(_model("gru"))
        config = FittingConfig(**{"rounds": 6, "updates": 5, "batch": 8, "learning_rate": 0.02, **told})  # type: ignore[arg-type]
        fitter = Fitter(model, _copying, _copying(32), config)
        while not fitter.is_done:
            fitter.advance()
        fitter.keep_best()
        assert validate(model, fitter._validation) == min(each.validation for each in fitter.rounds)
        numbers, best = [each.number for each in fitter.rounds], [each.is_best for each in fitter.rounds]
        return numbers, best, next(model.parameters()).detach()

    numbers, best, weights = train()
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert best[0]
    assert torch.equal(weights, train()[2])
    assert train(enough=99.0)[0] == [1]
    assert train(patience=2, learning_rate=1e-30)[1] == [True, False, False]

"""Muon against NumPy: its orthogonal factor, its momentum, and which weights are its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig, Precision
from unrolled_export.model import CharacterModel
from unrolled_export.optimiser import Muon, make_optimiser, orthogonalise


@settings(max_examples=30)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    decades=st.floats(0, 1.5),
    size=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)
def test_singular_vectors_stay_and_their_values_come_near_one(
    rows: int, columns: int, decades: float, size: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(generator.normal(size=(rows, columns)), full_matrices=False)
    values = np.logspace(0, -decades, min(rows, columns))
    found = orthogonalise(torch.tensor(left * values @ right * size, dtype=torch.float32)).double().numpy()
    inner = left.T @ found @ right.T
    seen = values / np.linalg.norm(values) > 0.01
    assert np.all(np.diag(inner)[seen] > 0.3)
    assert np.all(np.diag(inner) < 1.25)
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_update_follows_nesterov_momentum(precision: Precision) -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(24, 6))
    muon = Muon([weight], precision=precision)
    expected, momentum = weight.detach().double().numpy(), np.zeros((24, 6))
    for rate in (0.03, 0.02, 0.01):
        gradient = torch.randn(24, 6)
        weight.grad = gradient
        muon.param_groups[0]["lr"] = rate
        muon.step()
        momentum = 0.95 * momentum + 0.05 * gradient.double().numpy()
        blend = 0.05 * gradient.double().numpy() + 0.95 * momentum
        near = orthogonalise(torch.tensor(blend, dtype=torch.float32)).double().numpy()
        expected = expected * (1 - rate) - rate * 0.2 * np.sqrt(24) * near
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-6 if precision == "fp32" else 2e-3)


@pytest.mark.parametrize("cell", CELL_KINDS)
def test_every_weight_moves_once_and_only_matrices_of_the_recurrence_are_orthogonalised(cell: CellKind) -> None:
    torch.manual_seed(0)
    model = CharacterModel(ModelConfig(cell=cell, layers=2, hidden=8, embedding=5), 7)
    optimiser = make_optimiser(model, 0.0, "muon")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    tokens = torch.randint(7, (6, 4))
    logits, _ = model(tokens, model.zero_state(4))
    functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
    optimiser.step(0.01)
    for name, weight in model.named_parameters():
        moved = (weight.detach() - before[name]).double().numpy()
        assert np.abs(moved).max() > 0, name
        if weight.dim() == 2 and name.startswith("recurrence"):  # it decayed too
            moved += 0.01 * before[name].double().numpy()
            values = np.linalg.svd(moved, compute_uv=False) / (0.01 * 0.2 * max(moved.shape) ** 0.5)
            assert values.max() < 1.25, name
            assert values[0] > 0.5, name
        else:
            np.testing.assert_array_less(np.abs(moved), 0.005 * 1.001, err_msg=name)

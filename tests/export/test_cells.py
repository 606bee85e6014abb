"""One step, repeated, is PyTorch's own recurrent layer over the sequence."""

from __future__ import annotations

import pytest
import torch

from unrolled.v1.bundle_pb2 import State
from unrolled_export.config import CELL_KINDS, CellKind, ModelConfig
from unrolled_export.model import CharacterModel, SequenceModel
from unrolled_export.parity import stepped
from unrolled_export.step import RecurrentStep

V = 7


def _random_model(config: ModelConfig) -> CharacterModel:
    torch.manual_seed(0)
    model = CharacterModel(config, V)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return model.eval()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("cell", CELL_KINDS)
def test_repeated_step_equals_the_layer(cell: CellKind, embedding: int, layers: int) -> None:
    config = ModelConfig(cell=cell, layers=layers, hidden=6, embedding=embedding)
    model = _random_model(config)
    states = [State(input=name, output=f"new_{name}", shape=[6]) for name in config.state_names]
    tokens = torch.randint(V, (30, 4))
    with torch.no_grad():
        wanted, _ = model(tokens, model.zero_state(4))
        given = stepped(RecurrentStep(model), states)(tokens)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_weight_dropout_is_a_mask_on_the_recurrent_weights(cell: CellKind) -> None:
    model = _random_model(ModelConfig(cell=cell, layers=2, hidden=6, weight_dropout=0.5)).train()
    tokens, zero = torch.randint(V, (9, 3)), model.zero_state(3)
    torch.manual_seed(5)
    masked = model._dropped()
    torch.manual_seed(5)
    given, _ = model(tokens, zero)
    other = _random_model(ModelConfig(cell=cell, layers=2, hidden=6))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, weight in masked.items():
            assert (weight == 0).float().mean() == pytest.approx(0.5, abs=0.2)
            other.recurrence.get_parameter(name).copy_(weight)
        wanted, _ = other(tokens, zero)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)
    given.sum().backward()
    assert all(model.recurrence.get_parameter(name).grad is not None for name in masked)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
@pytest.mark.parametrize("start", [0.0, 0.7, -0.7])
def test_scan_over_time_equals_the_step_repeated(cell: CellKind, start: float) -> None:
    config = ModelConfig(cell=cell, layers=2, hidden=6)
    torch.manual_seed(0)
    model = SequenceModel(config, 3, 2, reads_tokens=False).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=2.0)  # gates that are all but shut or open
    states = [State(input=f"h{layer}", output=f"new_h{layer}", shape=[6], initial=start) for layer in range(2)]
    inputs = 3 * torch.randn(500, 4, 3)
    with torch.no_grad():
        wanted, after = model(inputs, (torch.full((2, 4, 6), start),))
        carried = [torch.full((4, 6), start) for _ in states]
        step, given = RecurrentStep(model), []
        for row in inputs:
            answer, *carried = step(row, *carried)
            given.append(answer)
    torch.testing.assert_close(torch.stack(given), wanted, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(torch.stack(carried), after[0], atol=1e-4, rtol=1e-4)
    (wanted,) = torch.autograd.grad(
        model(inputs, (torch.zeros(2, 4, 6),))[0].sum(), model.recurrence.get_parameter("weight_ih_l0")
    )
    assert wanted.isfinite().all()

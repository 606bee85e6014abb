"""How far back a gradient reaches: right where it can be worked out, and shown by the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from unrolled_export.cli import inspect
from unrolled_export.config import ModelConfig
from unrolled_export.gradients import STARTS, Start, measure_lags, measure_starts
from unrolled_export.model import SequenceModel


def _linear_model(factor: float) -> SequenceModel:
    """An Elman cell of one unit that stays near 0, where tanh is the identity: h' = factor h."""
    model = SequenceModel(ModelConfig(cell="rnn", layers=1, hidden=1), 1, 1, reads_tokens=False).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.recurrence.get_parameter("weight_hh_l0").fill_(factor)
        model.get_parameter("decoder.weight").fill_(1.0)
    return model


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_norm_is_a_power_of_the_recurrent_weight(factor: float) -> None:
    norms = measure_lags(_linear_model(factor), torch.zeros(8, 3, 1), torch.full((3, 1), -0.5))
    assert norms == pytest.approx([factor**lag for lag in range(1, 9)], rel=1e-5)


def test_clipping_bounds_what_flows_back() -> None:
    norms = measure_lags(_linear_model(1.5), torch.zeros(8, 3, 1), torch.full((3, 1), -0.5), clip=2.0)
    assert norms == pytest.approx([1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], rel=1e-5)


def test_starts_tell_vanishing_from_exploding() -> None:
    torch.manual_seed(0)
    like = SequenceModel(ModelConfig(cell="lstm", layers=1, hidden=32), 4, 4, reads_tokens=False)
    curves = dict(measure_starts(like, 0.01 * torch.randn(40, 4, 4), torch.randint(4, (4,))))
    kept = {name: norms[-1] / norms[0] for name, norms in curves.items()}
    assert list(kept) == [start.name for start in STARTS]
    assert kept["rnn, uniform"] < 1e-6
    assert 0.1 < kept["rnn, orthogonal"] < 2
    assert kept["rnn, orthogonal x 2"] > 1e3
    assert max(curves["rnn, orthogonal x 2, clipped"]) <= 1 + 1e-5
    assert kept["lstm, orthogonal, forget bias 1"] > 100 * kept["lstm, orthogonal"]
    assert isinstance(STARTS[0], Start)


def test_command_draws_a_trained_model(hello_runs: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "gradients.png"
    result = CliRunner().invoke(inspect, ["gradients", str(hello_runs["lstm"]), "-o", str(picture), "--steps", "12"])
    assert result.exit_code == 0, result.output
    assert "this model, lstm" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")

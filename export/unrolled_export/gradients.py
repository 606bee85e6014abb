"""How far back a gradient reaches: the norm of dL/dh over the lag, for a trained model and for fresh ones.

The loss is that of the last step of a sequence. Its gradient with respect to the state, which is `(h, c)` for an LSTM,
is taken at every step before. What falls with the lag vanishes, what rises explodes (Bengio et al. 1994; Pascanu et al.
2013); clipping where it flows back bounds it, an orthogonal recurrent matrix keeps it, and so does a forget gate
that begins open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from unrolled_export.bptt import compute_loss
from unrolled_export.config import CellKind, ModelConfig
from unrolled_export.model import SequenceModel
from unrolled_export.recurrence import Carried

SEED = 0


@dataclass(frozen=True)
class Start:
    """Say how a fresh model begins.

    Attributes:
        name: what the plot calls it.
        cell: kind of the layers.
        gain: factor on the recurrent matrices, which are orthogonal gate by gate; 0 draws them uniformly instead, as
            PyTorch does.
        forget_bias: bias of an LSTM's forget gate.
        clip: largest norm of a sequence's gradient with respect to one state as it flows back; 0 is none.
    """

    name: str
    cell: CellKind
    gain: float = 1.0
    forget_bias: float = 0.0
    clip: float = 0.0


STARTS = (
    Start("rnn, uniform", "rnn", gain=0.0),
    Start("rnn, orthogonal", "rnn"),
    Start("rnn, orthogonal x 2", "rnn", gain=2.0),
    Start("rnn, orthogonal x 2, clipped", "rnn", gain=2.0, clip=1.0),
    Start("gru, orthogonal", "gru"),
    Start("lstm, orthogonal", "lstm"),
    Start("lstm, orthogonal, forget bias 1", "lstm", forget_bias=1.0),
)


def measure_lags(model: SequenceModel, inputs: Tensor, targets: Tensor, clip: float = 0.0) -> list[float]:
    """Measure how much the last step's loss depends on the states before it.

    Args:
        model: what reads, in evaluation mode.
        inputs: int64 `[T, B]` or f32 `[T, B, F]`.
        targets: of the last step: int64 `[B]` or f32 `[B, O]`.
        clip: largest norm of a sequence's gradient with respect to one state, applied as it flows back; 0 is none.

    Returns:
        The mean over the sequences of the gradient's norm, at lag 1, the state that the last step
        begins with, to T.
    """
    state = tuple(tensor.requires_grad_() for tensor in model.zero_state(inputs.shape[1]))
    entering, answers = list[Carried](), torch.empty(0)
    for row in inputs:
        entering.append(state)
        copies = tuple(tensor.clone() for tensor in state)
        if clip:  # at the copy: a hook is not seen by the gradient of its own tensor
            for tensor in copies:
                tensor.register_hook(partial(_clip, largest=clip))  # type: ignore[no-untyped-call]
        answers, state = model(row[None], copies)
    loss = compute_loss(answers, targets[None], None, is_mean=False)
    found = torch.autograd.grad(loss, [tensor for each in entering for tensor in each])
    norms, kinds = [], len(state)
    for step in range(len(inputs)):
        joined = torch.cat(found[step * kinds : (step + 1) * kinds])
        norms.append(joined.transpose(0, 1).flatten(1).norm(dim=1).mean().item())
    return norms[::-1]


def measure_starts(
    model: SequenceModel, inputs: Tensor, targets: Tensor, starts: Sequence[Start] = STARTS
) -> Iterator[tuple[str, list[float]]]:
    """Measure fresh models of the same width, depth and size as `model`, by the name of their start."""
    for start in starts:
        torch.manual_seed(SEED)
        config = replace(model.config, cell=start.cell, dropout=0.0, weight_dropout=0.0, input_dropout=0.0)
        yield start.name, measure_lags(_build(model, config, start), inputs, targets, start.clip)


@torch.no_grad()
def _build(like: SequenceModel, config: ModelConfig, start: Start) -> SequenceModel:
    model = SequenceModel(config, like.width, like.outputs, reads_tokens=like.reads_tokens).eval()
    for name, weight in model.recurrence.named_parameters():
        if name.startswith("weight_hh"):
            if start.gain:
                weight.mul_(start.gain)
            else:
                nn.init.uniform_(weight, -(config.hidden**-0.5), config.hidden**-0.5)
        elif name.startswith("bias_ih") and start.cell == "lstm":
            weight.chunk(4)[1].fill_(start.forget_bias)
    return model


def _clip(gradient: Tensor, *, largest: float) -> Tensor:
    """Shrink what is longer, for each sequence by itself: f32 `[layers, B, H]`."""
    norms = gradient.transpose(0, 1).flatten(1).norm(dim=1)
    shrunk: Tensor = gradient * (largest / norms.clamp(min=largest))[None, :, None]
    return shrunk

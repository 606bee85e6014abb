"""Backpropagation through time, full or truncated (Werbos 1990; Williams & Peng 1990).

A batch of sequences is read chunk by chunk. The state is carried across a chunk's border exactly; the gradient
ends there. A chunk as long as the sequences makes it full backpropagation. Weights are shared by all steps, so
their gradient is the sum, or the mean, of what every step that counts adds to it.

Owns the loss and its gradient; updates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional

from unrolled_export.config import Precision
from unrolled_export.precision import autocast
from unrolled_export.recurrence import Carried

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Batch:
    """Hold sequences side by side, padded to one length.

    Attributes:
        inputs: int64 `[T, B]` or f32 `[T, B, F]`.
        targets: int64 `[T, B]`, the right answers, or f32 `[T, B, O]`.
        mask: f32 `[T, B]`, 1 where an answer counts and 0 where it does not; None where all count.
        condition: f32 `[B, C]`, what sets the first state; None where nothing does.
        source: int64 `[S, B]` or f32 `[S, B, F]`, what an encoder reads; None where there is none.
        lengths: int64 `[B]`, steps of each source, at least 1; None where there is none.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None = None
    condition: Tensor | None = None
    source: Tensor | None = None
    lengths: Tensor | None = None


class Reader(Protocol):
    """Whatever reads a part of a sequence from a state."""

    def __call__(self, inputs: Tensor, state: Carried, /) -> tuple[Tensor, Carried]:
        """Give the answers f32 `[T, B, O]` and the state after the last step."""


def backpropagate(
    model: Reader,
    batch: Batch,
    state: Carried,
    *,
    chunk: int = 0,
    reduction: Reduction = "mean",
    precision: Precision = "fp32",
) -> tuple[float, Carried]:
    """Add the gradient of a batch to that of the weights.

    Args:
        model: what is trained, already in training mode.
        batch: what it reads.
        state: where it begins. A gradient flows into it, from the first chunk alone.
        chunk: steps that a gradient goes back; 0 is the whole sequence.
        reduction: of the losses of all steps that count.
        precision: arithmetic of the forward pass.

    Returns:
        The loss, and the state after the last step, detached.
    """
    steps = len(batch.inputs)
    counted = batch.targets[..., 0].numel() if batch.targets.is_floating_point() else batch.targets.numel()
    weight = 1.0 if reduction == "sum" else 1 / (counted if batch.mask is None else float(batch.mask.sum()))
    total = 0.0
    for start in range(0, steps, chunk or steps):
        part = slice(start, start + (chunk or steps))
        with autocast(precision):
            answers, after = model(batch.inputs[part], state)
        is_all = batch.mask is None and part.stop >= steps and start == 0 and reduction == "mean"
        loss = compute_loss(answers, batch.targets[part], None if batch.mask is None else batch.mask[part], is_all)
        loss = loss if is_all else loss * weight
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
        state = tuple(tensor.detach() for tensor in after)
    return total, state


def compute_loss(answers: Tensor, targets: Tensor, mask: Tensor | None, is_mean: bool) -> Tensor:
    """Sum, or average, what every step loses: cross entropy in nats for int64 targets, squared error for f32 ones.

    The squared error of a step is the mean over its numbers.
    """
    if not targets.is_floating_point():
        flat, wanted = answers.flatten(0, 1), targets.flatten()
        if mask is None:
            return functional.cross_entropy(flat, wanted, reduction="mean" if is_mean else "sum")
        losses = functional.cross_entropy(flat, wanted, reduction="none").view_as(mask)
    else:
        losses = ((answers - targets) ** 2).mean(dim=-1)
    losses = losses if mask is None else losses * mask
    return losses.sum() / (losses.numel() if mask is None else mask.sum()) if is_mean else losses.sum()

"""Whether an exported cell computes what was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import Golden, State
from unrolled_export.errors import CellError
from unrolled_export.reference import Floats, choose, uniform
from unrolled_export.replay import Cell, Tokens

Reading = Callable[[Tensor], Tensor]
"""Reads int64 `[T, B]` from the zero state and gives logits f32 `[T, B, V]`."""

BATCHES = (1, 3, 64)
STEPS = 24
TOLERANCE = 1e-4


def stepped(module: nn.Module, states: Sequence[State]) -> Reading:
    """Read a sequence by repeating one step of `module`."""

    def read(tokens: Tensor) -> Tensor:
        carried = [torch.full((tokens.shape[1], *state.shape), state.initial) for state in states]
        logits = []
        for row in tokens:
            now, *carried = module(row, *carried)
            logits.append(now)
        return torch.stack(logits)

    return read


def check_logits(cell: Cell, oracles: Mapping[str, Reading], vocabulary_size: int) -> None:
    """Compare logits over a sequence of random tokens at batch 1, 3 and 64.

    Raises:
        CellError: they differ by more than 1e-4 from those of an oracle, which is named.
    """
    generator = np.random.default_rng(0)
    for batch in BATCHES:
        tokens = generator.integers(0, vocabulary_size, (STEPS, batch))
        given = cell.read(tokens)
        for name, oracle in oracles.items():
            wanted = _read(oracle, tokens)
            if wanted.shape != given.shape:
                raise CellError(f"the cell's logits are {given.shape}, those of {name} {wanted.shape}")
            difference = float(np.abs(given - wanted).max())
            if not difference <= TOLERANCE:
                step = int(np.argmax(np.abs(given - wanted).max(axis=(1, 2)) > TOLERANCE))
                raise CellError(
                    f"the exported cell differs from {name} at batch {batch}: "
                    f"logits by {difference:.3g}, first above {TOLERANCE:g} at step {step}"
                )


def check_tokens(golden: Golden, oracles: Mapping[str, Reading]) -> None:
    """Compare the golden run's tokens, which the cell chose by itself, with what each oracle would choose.

    Equal choices after equal histories are an equal free run.

    Raises:
        CellError: a token differs; the oracle, the run and the step are named.
    """
    prompt = list(golden.prompt)
    for run, tokens, temperature in (("greedy", golden.greedy, 0.0), ("sampled", golden.sampled, 1.0)):
        history = np.array([*prompt, *tokens], np.int64)[:, None]
        for name, oracle in oracles.items():
            logits = _read(oracle, history)[len(prompt) - 1 : -1, 0]
            for step, (token, row) in enumerate(zip(tokens, logits, strict=True)):
                wanted = choose(row, uniform(golden.seed, len(prompt) + step), temperature).token
                if wanted != token:
                    raise CellError(
                        f"the exported cell differs from {name}: "
                        f"{run} step {step} gives token {token} instead of {wanted}"
                    )


@torch.no_grad()
def _read(oracle: Reading, tokens: Tokens) -> Floats:
    read: Floats = oracle(torch.from_numpy(tokens)).numpy()
    return read

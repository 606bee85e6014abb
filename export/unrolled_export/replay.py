"""One exported cell in onnxruntime, a step at a time. Torch-free; for checks, not for serving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import State
from unrolled_export.errors import BundleError
from unrolled_export.reference import Choice, Floats, choose, uniform

Tokens = NDArray[np.int64]


class Cell:
    """Run a cell from its bytes, on one thread.

    Raises:
        BundleError: onnxruntime cannot load or run it.
    """

    def __init__(self, content: bytes, states: Iterable[State]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"onnxruntime refuses the cell: {error}") from error
        self._states = list(states)
        self._outputs = ["logits", *(state.output for state in self._states)]

    def zero_state(self, batch: int) -> dict[str, Floats]:
        """Make the state at position 0, f32 `[batch, ...]` by input name."""
        return {state.input: np.full((batch, *state.shape), state.initial, dtype=np.float32) for state in self._states}

    def step(self, tokens: Tokens, state: dict[str, Floats]) -> tuple[Floats, dict[str, Floats]]:
        """Feed int64 `[B]`; get logits f32 `[B, V]` and the new state. `state` is unchanged."""
        try:
            logits, *after = self._session.run(self._outputs, {"token": tokens, **state})
        except Exception as error:  # as above
            raise BundleError(f"onnxruntime cannot run the cell: {error}") from error
        return logits, {known.input: tensor for known, tensor in zip(self._states, after, strict=True)}

    def read(self, tokens: Tokens) -> Floats:
        """Feed int64 `[T, B]` from the zero state; get the logits after each step, f32 `[T, B, V]`."""
        state = self.zero_state(tokens.shape[1])
        read = []
        for row in tokens:
            logits, state = self.step(row, state)
            read.append(logits)
        return np.stack(read)


@dataclass(frozen=True)
class Drawing:
    """Say how tokens are drawn: the seed and the temperature."""

    seed: int = 0
    temperature: float = 1.0


GREEDY = Drawing(temperature=0.0)


def generate(cell: Cell, prompt: Sequence[int], count: int, drawing: Drawing) -> Iterator[Choice]:
    """Yield `count` choices after `prompt`, each fed back as the next input."""
    state = cell.zero_state(1)
    logits = np.zeros((1, 0), np.float32)
    for token in prompt:
        logits, state = cell.step(np.array([token], np.int64), state)
    for position in range(len(prompt), len(prompt) + count):
        choice = choose(logits[0], uniform(drawing.seed, position), drawing.temperature)
        yield choice
        logits, state = cell.step(np.array([choice.token], np.int64), state)

"""Exported graphs in onnxruntime, a step at a time. Torch-free; for checks, not for serving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import State
from unrolled_export.errors import BundleError
from unrolled_export.reference import Choice, Floats, choose, uniform

Tokens = NDArray[np.int64]


class Graph:
    """Run one graph from its bytes, on one thread.

    Raises:
        BundleError: onnxruntime cannot load or run it.
    """

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"onnxruntime refuses the cell: {error}") from error

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[Floats]:
        """Give the named outputs in order."""
        try:
            given: list[Floats] = self._session.run(outputs, dict(inputs))
        except Exception as error:  # as above
            raise BundleError(f"onnxruntime cannot run the cell: {error}") from error
        return given


class Cell:
    """Run a cell, a step or a sequence at a time.

    Args:
        content: its file.
        states: what it carries.
        takes: name of its input, "token" or "input".
        gives: name of its output, "logits" or "output"; "" where there are only states.

    Raises:
        BundleError: onnxruntime cannot load or run it.
    """

    def __init__(self, content: bytes, states: Iterable[State], takes: str = "token", gives: str = "logits") -> None:
        self._graph = Graph(content)
        self._states = list(states)
        self._takes = takes
        self._outputs = [*([gives] if gives else []), *(state.output for state in self._states)]
        self._gives = bool(gives)

    def zero_state(self, batch: int) -> dict[str, Floats]:
        """Make the state at position 0, f32 `[batch, ...]` by input name."""
        return {state.input: np.full((batch, *state.shape), state.initial, dtype=np.float32) for state in self._states}

    def step(self, given: NDArray[Any], state: Mapping[str, Floats]) -> tuple[Floats, dict[str, Floats]]:
        """Feed int64 `[B]` or f32 `[B, F]`; get the output f32 `[B, O]` and the new state. `state` is unchanged."""
        found = self._graph.run(self._outputs, {self._takes: given, **state})
        output = found.pop(0) if self._gives else np.zeros((len(given), 0), np.float32)
        return output, {known.input: tensor for known, tensor in zip(self._states, found, strict=True)}

    def read(self, given: NDArray[Any], state: Mapping[str, Floats] | None = None) -> Floats:
        """Feed `[T, B]` or `[T, B, F]`, from the zero state if none is given; get f32 `[T, B, O]`, an output a step."""
        carried = self.zero_state(given.shape[1]) if state is None else dict(state)
        read = []
        for row in given:
            output, carried = self.step(row, carried)
            read.append(output)
        return np.stack(read)


@dataclass(frozen=True)
class Drawing:
    """Say how tokens are drawn: the seed and the temperature."""

    seed: int = 0
    temperature: float = 1.0


GREEDY = Drawing(temperature=0.0)


def generate(
    cell: Cell, prompt: Sequence[int], count: int, drawing: Drawing, state: Mapping[str, Floats] | None = None
) -> Iterator[Choice]:
    """Yield `count` choices after `prompt`, each fed back as the next input; from the zero state if none is given."""
    carried = cell.zero_state(1) if state is None else dict(state)
    logits = np.zeros((1, 0), np.float32)
    for token in prompt:
        logits, carried = cell.step(np.array([token], np.int64), carried)
    for position in range(len(prompt), len(prompt) + count):
        choice = choose(logits[0], uniform(drawing.seed, position), drawing.temperature)
        yield choice
        logits, carried = cell.step(np.array([choice.token], np.int64), carried)

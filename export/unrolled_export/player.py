"""All graphs of a bundle played together: a condition or a source, then a sequence. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import MODALITY_TOKEN, Manifest, Series, Vector
from unrolled_export.reference import Floats
from unrolled_export.replay import GREEDY, Cell, Drawing, Graph, generate
from unrolled_export.shape import (
    BRIDGE_FILE,
    CELL_FILE,
    CONDITION,
    CONDITION_FILE,
    ENCODER_FILE,
    describe_graphs,
    modality,
)


@dataclass(frozen=True)
class Feed:
    """Hold what a batch of sequences is fed.

    Attributes:
        inputs: int64 `[T, B]` or f32 `[T, B, F]`.
        condition: f32 `[B, C]`; None where there is none.
        source: int64 `[S, B]` or f32 `[S, B, F]`; None where there is none.
    """

    inputs: NDArray[Any]
    condition: Floats | None = None
    source: NDArray[Any] | None = None


class Player:
    """Play sequences on the graphs of one bundle.

    Args:
        manifest: what they are.
        graphs: their files.

    Raises:
        BundleError: onnxruntime cannot load or run one.
    """

    def __init__(self, manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        takes, gives = (next(iter(side)) for side in _sides(manifest))
        self.cell = Cell(graphs[CELL_FILE], manifest.states, takes, gives)
        self._states = [state.input for state in manifest.states]
        encoder = manifest.encoder
        self._condition = Graph(graphs[CONDITION_FILE]) if CONDITION_FILE in graphs else None
        self._bridge = Graph(graphs[BRIDGE_FILE]) if BRIDGE_FILE in graphs else None
        reads = "token" if modality(encoder.input) == MODALITY_TOKEN else "input"
        self._encoder = Cell(graphs[ENCODER_FILE], encoder.states, reads, "") if ENCODER_FILE in graphs else None

    @property
    def is_token(self) -> bool:
        """Tell whether the cell's outputs are logits of tokens."""
        return modality(self.manifest.output) == MODALITY_TOKEN

    def begin(self, batch: int, condition: Floats | None, source: NDArray[Any] | None) -> dict[str, Floats]:
        """Make the state at position 0, by input name."""
        if self._condition is not None and condition is not None:
            return dict(zip(self._states, self._condition.run(self._states, {CONDITION: condition}), strict=True))
        if self._encoder is None or source is None:
            return self.cell.zero_state(batch)
        context = self._encoder.zero_state(batch)
        for row in source:
            _, context = self._encoder.step(row, context)
        if self._bridge is None:
            return context
        given = {state.output: context[state.input] for state in self.manifest.encoder.states}
        return dict(zip(self._states, self._bridge.run(self._states, given), strict=True))

    def read(self, feed: Feed) -> Floats:
        """Give the output after each input, f32 `[T, B, O]`."""
        state = self.begin(feed.inputs.shape[1], feed.condition, feed.source)
        return self.cell.read(feed.inputs, state)

    def write(
        self, condition: Floats | None = None, source: NDArray[Any] | None = None, drawing: Drawing | None = None
    ) -> NDArray[Any]:
        """Let the cell feed itself, one sequence at a time: greedily, or as `drawing` says.

        Returns:
            The tokens, int64 `[T]`, without start and end; or the vectors, f32 `[T, O]`.
        """
        feedback, state = self.manifest.feedback, self.begin(1, condition, source)
        if self.is_token:
            return np.array(list(self._write_tokens(state, drawing or GREEDY)), np.int64)
        written, given = [], self.start()
        for _ in range(feedback.length):
            given, state = self.cell.step(given, state)
            written.append(given[0])
        return np.stack(written)

    def start(self) -> NDArray[Any]:
        """Give what is fed first to one sequence: int64 `[1]` or f32 `[1, F]`."""
        feedback = self.manifest.feedback
        if self.is_token:
            return np.array([feedback.start_token], np.int64)
        width = self.manifest.input.width
        return np.array([list(feedback.start) or [0.0] * width], np.float32)

    def _write_tokens(self, state: Mapping[str, Floats], drawing: Drawing) -> Iterator[int]:
        feedback = self.manifest.feedback
        for choice in generate(self.cell, [feedback.start_token], feedback.length, drawing, state):
            if feedback.HasField("end_token") and choice.token == feedback.end_token:
                return
            yield choice.token


def to_array(series: Series) -> NDArray[Any]:
    """Turn one sequence into int64 `[T, 1]` or f32 `[T, 1, F]`."""
    if series.vectors:
        return np.array([list(vector.values) for vector in series.vectors], np.float32)[:, None]
    return np.array(list(series.tokens), np.int64)[:, None]


def to_series(sequence: NDArray[Any]) -> Series:
    """Turn int64 `[T]` or f32 `[T, F]` into a message."""
    if sequence.dtype.kind == "f":
        return Series(vectors=[Vector(values=row.tolist()) for row in sequence])
    return Series(tokens=sequence.tolist())


def to_row(numbers: Sequence[float]) -> Floats | None:
    """Turn a condition into f32 `[1, C]`; None where it is empty."""
    return np.array([list(numbers)], np.float32) if numbers else None


def to_source(series: Series) -> NDArray[Any] | None:
    """Turn a source into an array as `to_array` does; None where it is empty."""
    return to_array(series) if series.tokens or series.vectors else None


def _sides(manifest: Manifest) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    signature = describe_graphs(manifest)[CELL_FILE]
    return signature.inputs, signature.outputs

"""Golden runs: what a bundle did when it was exported, repeated here before it is served.

Knows recorded runs and programs, not files; a fault is said in words that follow the name of the file.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import Golden, Manifest, Run, Series
from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import NOT_FORCED, Batch, Program
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceOutcome, SequenceProgram
from unrolled_service.graphs.state import Floats
from unrolled_service.models.beginning import Condition, Encoder
from unrolled_service.models.shape import measure_output


class RunDiffers(BundleError):
    """A golden run that this machine does not repeat."""


def check_golden(golden: Golden, vocabulary_size: int) -> None:
    """Accept the record of a plain generation.

    Raises:
        BundleError: it cannot be replayed.
    """
    if not (golden.prompt and golden.greedy and golden.sampled):
        raise BundleError("is empty")
    if len(golden.greedy) != len(golden.sampled):
        raise BundleError("greedy is not as long as sampled")
    if max(*golden.prompt, *golden.greedy, *golden.sampled) >= vocabulary_size:
        raise BundleError("has a token outside the vocabulary")


def replay_golden(program: Program, golden: Golden) -> None:
    """Run a plain generation in two rows, one greedy and one sampled, and compare every token.

    Raises:
        RunDiffers: one is another.
        ProgramError: the runtime cannot run the cell.
    """
    prompt, expected = list(golden.prompt), np.array([golden.greedy, golden.sampled], np.int64).T
    forced = np.full((len(prompt) + len(expected) - 1, 2), NOT_FORCED, np.int64)
    forced[: len(prompt)] = np.array(prompt, np.int64)[:, None]
    batch = Batch(
        token=np.zeros(2, np.int64),
        forced=forced,
        position=np.ones(2, np.int64),
        seed=np.full(2, golden.seed, np.uint64),
        temperature=np.array([[0.0], [1.0]], np.float32),
    )
    differs = program.run(batch, np.tile(program.initial, (2, 1))).tokens[len(prompt) - 1 :] != expected
    if differs.any():
        step = int(differs.any(axis=1).argmax())
        raise RunDiffers(f"this machine's run differs from the recorded one at step {step}")


def check_runs(golden: Golden, manifest: Manifest) -> None:
    """Accept the record of another shape.

    Raises:
        BundleError: it cannot be replayed.
    """
    if not golden.runs:
        raise BundleError("has no runs")
    if not 0 < golden.tolerance < 1:
        raise BundleError(f"tolerance is {golden.tolerance:g}, not between 0 and 1")
    for index, run in enumerate(golden.runs):
        for fault in _find_faults(run, manifest):
            raise BundleError(f"run {index}: {fault}")


def _find_faults(run: Run, manifest: Manifest) -> Iterator[str]:
    width = manifest.condition.port.width if manifest.HasField("condition") else 0
    if len(run.condition) != width:
        yield f"condition has {len(run.condition)} numbers, not {width}"
    if manifest.HasField("encoder"):
        encoder = manifest.encoder
        yield from _find_series_faults("source", run.source, len(encoder.vocabulary), encoder.input.width)
    elif run.source.tokens or run.source.vectors:
        yield "has a source, and nothing reads it"
    yield from _find_series_faults("inputs", run.inputs, len(manifest.vocabulary), manifest.input.width)
    wide = measure_output(manifest)
    if len(run.outputs) != max(len(run.inputs.tokens), len(run.inputs.vectors)):
        yield "outputs are not as many as inputs"
    if any(len(vector.values) != wide for vector in run.outputs):
        yield f"outputs has one that is not {wide} numbers"


def _find_series_faults(field: str, series: Series, vocabulary_size: int, width: int) -> Iterator[str]:
    """Yield what is wrong with inputs: vectors where a width says so, else tokens."""
    given, other = (series.vectors, series.tokens) if width else (series.tokens, series.vectors)
    if not given or other:
        yield f"{field} is not {'vectors' if width else 'tokens'}, at least one"
    if any(len(vector.values) != width for vector in series.vectors):
        yield f"{field} has a vector that is not {width} numbers"
    if max(series.tokens, default=0) >= max(vocabulary_size, 1):
        yield f"{field} has a token outside the vocabulary"


class Player:
    """Repeats the recorded runs of one bundle.

    Args:
        cell: its cell over sequences; of a cell that generates tokens too, as that gives its logits.
        program: what is served, where that chooses tokens; None where it is ``cell``.
        condition: what makes its first state, if a condition does.
        encoder: what makes its first state, if a source does.
    """

    def __init__(
        self, cell: SequenceProgram, program: Program | None, condition: Condition | None, encoder: Encoder | None
    ) -> None:
        self._cell, self._program, self._condition, self._encoder = cell, program, condition, encoder

    def replay_runs(self, golden: Golden) -> None:
        """Feed what was fed and compare every output; where tokens are fed back, also let it choose them.

        Raises:
            RunDiffers: an output is farther from the recorded one than the tolerance, or a choice is another.
            ProgramError: the runtime cannot run a graph.
        """
        for index, run in enumerate(golden.runs):
            state, inputs = self._begin(run), to_array(run.inputs)
            wanted = np.array([list(vector.values) for vector in run.outputs], np.float32)
            given = read_sequence(self._cell, inputs, state).outputs[:, 0]
            is_close = np.abs(given - wanted).max(axis=1) <= golden.tolerance  # false where it is not a number
            _compare(index, is_close)
            if self._program is not None and golden.margin:
                expected = np.append(inputs[1:, 0], wanted[-1].argmax())
                _compare(index, given.argmax(axis=1) == expected)
                _compare(index, _choose_tokens(self._program, inputs[0, 0], len(inputs), state) == expected)

    def _begin(self, run: Run) -> Floats:
        """Return the state at position 0, f32[S]."""
        if self._condition is not None:
            return self._condition.begin(np.array(run.condition, np.float32))
        if self._encoder is not None:
            reader = self._encoder.program
            return self._encoder.bridge(read_sequence(reader, to_array(run.source), reader.initial).state[0])
        return self._cell.initial


def to_array(series: Series) -> NDArray[Any]:
    """Return one sequence as a batch of one: int64[T, 1] or f32[T, 1, F]."""
    if series.vectors:
        return np.array([list(vector.values) for vector in series.vectors], np.float32)[:, None]
    return np.array(series.tokens, np.int64)[:, None]


def read_sequence(program: SequenceProgram, inputs: NDArray[Any], state: Floats) -> SequenceOutcome:
    """Feed all of a batch of one, int64[T, 1] or f32[T, 1, F], from a state f32[S]."""
    taken = np.array([len(inputs)])
    last = np.zeros((1, program.output_width if program.feeds_back else 0), np.float32)
    return program.run(SequenceBatch(inputs, taken, taken, last, np.empty(0, np.int64)), state[None])


def _choose_tokens(program: Program, start: int, count: int, state: Floats) -> NDArray[np.int64]:
    """Return the tokens that follow the first one greedily, int64[count]."""
    forced = np.full((count, 1), NOT_FORCED, np.int64)
    forced[0] = start
    one = np.zeros(1, np.int64)
    batch = Batch(one, forced, one, one.astype(np.uint64), np.zeros((1, 1), np.float32))
    chosen: NDArray[np.int64] = program.run(batch, state[None]).tokens[:, 0]
    return chosen


def _compare(index: int, is_equal: Sequence[bool] | NDArray[np.bool_]) -> None:
    if not np.all(is_equal):
        step = int(np.argmin(is_equal))
        raise RunDiffers(f"this machine's run {index} differs from the recorded one at step {step}")

"""Runs the probe of ``numerics`` on a program: the fingerprint of the arithmetic that it runs on here."""

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.program import NOT_FORCED, Batch, Extras, Program
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceProgram
from unrolled_service.snapshots.numerics import (
    FORCED_STEPS,
    ROWS,
    SAMPLED_STEPS,
    SEED,
    fingerprint,
    make_probe,
    make_vector_probe,
)

_STEPS = FORCED_STEPS + SAMPLED_STEPS


def measure_numerics(program: Program | SequenceProgram, vocabulary_size: int) -> bytes:
    """Return the fingerprint of the arithmetic that a program runs on here: 32 bytes.

    Args:
        program: any.
        vocabulary_size: V; unused where it takes vectors.
    """
    *steps, state = _run(program, vocabulary_size, slice(None))
    return fingerprint([*steps, state])


def is_independent(program: Program | SequenceProgram, vocabulary_size: int) -> bool:
    """Return whether the rows of the probe give the same bits alone as together, as every row is promised to.

    A cell of operators that round otherwise at the end of an array than within does not.

    Args:
        program: any.
        vocabulary_size: V; unused where it takes vectors.
    """
    *steps, state = _run(program, vocabulary_size, slice(None))
    for row in range(ROWS):
        *own_steps, own_state = _run(program, vocabulary_size, slice(row, row + 1))
        same = [np.array_equal(all_[:, row], own[:, 0]) for all_, own in zip(steps, own_steps, strict=True)]
        if not (all(same) and np.array_equal(state[row], own_state[0])):
            return False
    return True


def _run(program: Program | SequenceProgram, vocabulary_size: int, rows: slice) -> list[NDArray[np.generic]]:
    """Return what some rows of the probe give: at each step, [K, B] or [K, B, O], and last of all the states."""
    if isinstance(program, SequenceProgram):
        return _run_sequence(program, vocabulary_size, rows)
    probe = make_probe(vocabulary_size)[:, rows]
    size = probe.shape[1]
    forced = np.full((_STEPS, size), NOT_FORCED, np.int64)
    forced[:FORCED_STEPS] = probe
    batch = Batch(
        token=np.zeros(size, np.int64),
        forced=forced,
        position=np.ones(size, np.int64),
        seed=np.full(size, SEED, np.uint64),
        temperature=np.ones((size, 1), np.float32),
        extras=Extras(np.arange(size), [Sampling()] * size, target=np.full(forced.shape, -1, np.int64), described=1),
    )
    outcome = program.run(batch, np.tile(program.initial, (size, 1)))
    described = [outcome.descriptions.chosen] if outcome.descriptions else []
    return [outcome.tokens, *described, outcome.state]


def _run_sequence(program: SequenceProgram, vocabulary_size: int, rows: slice) -> list[NDArray[np.generic]]:
    """Feed the probe alone, and where outputs are fed back as many steps more of those."""
    steps = _STEPS if program.feeds_back else FORCED_STEPS
    inputs: NDArray[np.generic] = make_probe(vocabulary_size) if not program.input_width else _make_vectors(program)
    inputs = np.ascontiguousarray(inputs[:, rows])
    size = inputs.shape[1]
    batch = SequenceBatch(
        inputs=inputs,
        steps=np.full(size, steps, np.int64),
        forced=np.full(size, FORCED_STEPS, np.int64),
        last=np.zeros((size, program.output_width if program.feeds_back else 0), np.float32),
        traced=np.empty(0, np.int64),
    )
    outcome = program.run(batch, np.tile(program.initial, (size, 1)))
    return [outcome.outputs, outcome.state]


def _make_vectors(program: SequenceProgram) -> NDArray[np.float32]:
    inputs = np.zeros((_STEPS if program.feeds_back else FORCED_STEPS, ROWS, program.input_width), np.float32)
    inputs[:FORCED_STEPS] = make_vector_probe(program.input_width)
    return inputs

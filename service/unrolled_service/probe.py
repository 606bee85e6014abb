"""Runs the probe of ``numerics`` on a program: the fingerprint of the arithmetic that it runs on here."""

import numpy as np
from numpy.typing import NDArray

from unrolled_service.numerics import (
    FORCED_STEPS,
    ROWS,
    SAMPLED_STEPS,
    SEED,
    fingerprint,
    make_probe,
    make_vector_probe,
)
from unrolled_service.program import NOT_FORCED, Batch, Extras, Program
from unrolled_service.sampling import Sampling
from unrolled_service.sequence_program import SequenceBatch, SequenceProgram

_STEPS = FORCED_STEPS + SAMPLED_STEPS


def measure_numerics(program: Program | SequenceProgram, vocabulary_size: int) -> bytes:
    """Return the fingerprint of the arithmetic that a program runs on here: 32 bytes.

    Args:
        program: any.
        vocabulary_size: V; unused where it takes vectors.
    """
    if isinstance(program, SequenceProgram):
        return _measure_sequence(program, vocabulary_size)
    forced = np.full((_STEPS, ROWS), NOT_FORCED, np.int64)
    forced[:FORCED_STEPS] = make_probe(vocabulary_size)
    batch = Batch(
        token=np.zeros(ROWS, np.int64),
        forced=forced,
        position=np.ones(ROWS, np.int64),
        seed=np.full(ROWS, SEED, np.uint64),
        temperature=np.ones((ROWS, 1), np.float32),
        extras=Extras([Sampling()] * ROWS, target=np.full(forced.shape, -1, np.int64), described=1),
    )
    outcome = program.run(batch, np.tile(program.initial, (ROWS, 1)))
    described = [outcome.descriptions.chosen] if outcome.descriptions else []
    return fingerprint([outcome.tokens, *described, outcome.state])


def _measure_sequence(program: SequenceProgram, vocabulary_size: int) -> bytes:
    """Feed the probe alone, and where outputs are fed back as many steps more of those."""
    steps = _STEPS if program.feeds_back else FORCED_STEPS
    inputs: NDArray[np.generic] = make_probe(vocabulary_size) if not program.input_width else _make_vectors(program)
    batch = SequenceBatch(
        inputs=inputs,
        steps=np.full(ROWS, steps, np.int64),
        forced=np.full(ROWS, FORCED_STEPS, np.int64),
        last=np.zeros((ROWS, program.output_width if program.feeds_back else 0), np.float32),
        traced=np.empty(0, np.int64),
    )
    outcome = program.run(batch, np.tile(program.initial, (ROWS, 1)))
    return fingerprint([outcome.outputs, outcome.state])


def _make_vectors(program: SequenceProgram) -> NDArray[np.float32]:
    inputs = np.zeros((_STEPS if program.feeds_back else FORCED_STEPS, ROWS, program.input_width), np.float32)
    inputs[:FORCED_STEPS] = make_vector_probe(program.input_width)
    return inputs

"""Runs the probe of ``numerics`` on a program: what arithmetic it runs on here, and what rows do to each other.

The last bits of a row may depend on its neighbours, where a kernel rounds otherwise at an array's end. What is more
than rounding is the cell's doing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.program import NOT_FORCED, Batch, Extras, Program
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceOutcome, SequenceProgram
from unrolled_service.graphs.state import Floats
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
_COMPANY = 8 * ROWS
_WATCHED = (0, 13, _COMPANY - 1)
_WINDOW = 8  # steps from the same state: too few for rounding to grow into another state, in a chaotic cell too


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


def mixes_rows(program: SequenceProgram, vocabulary_size: int, *, rounding: float) -> bool:
    """Return whether what a row gives depends on its neighbours, by more than rounding.

    Many rows of different pasts are run side by side, a few steps at a time; some of them also alone, from the same
    states. What a cell does only for other tokens, or among more rows, is not seen.

    Args:
        program: any; one of a cell that generates tokens gives its logits.
        vocabulary_size: V; unused where it takes vectors.
        rounding: of a number, or of 1 where that is more: what kernels may differ by.

    Raises:
        ProgramError: the runtime cannot run it.
    """
    few = _make_inputs(program, vocabulary_size, FORCED_STEPS)
    inputs = np.concatenate([np.roll(few, -shift, axis=0) for shift in range(_COMPANY // ROWS)], axis=1)
    state = np.tile(program.initial, (_COMPANY, 1))
    state = _feed(program, inputs, state, np.arange(_COMPANY)).state
    for start in range(0, FORCED_STEPS, _WINDOW):
        fed = inputs[start : start + _WINDOW]
        beside = _feed(program, fed, state)
        for row in _WATCHED:
            alone = _feed(program, np.ascontiguousarray(fed[:, [row]]), state[[row]])
            pairs = (alone.outputs[:, 0], beside.outputs[:, row]), (alone.state[0], beside.state[row])
            for one, other in pairs:
                if not np.allclose(one, other, rtol=rounding, atol=rounding, equal_nan=True):
                    return True
        state = beside.state
    return False


def _feed(
    program: SequenceProgram, inputs: NDArray[Any], state: Floats, steps: NDArray[np.int64] | None = None
) -> SequenceOutcome:
    """Advance rows by all inputs, or each by so many of them; nothing is fed back."""
    taken = np.full(inputs.shape[1], len(inputs), np.int64) if steps is None else steps
    last = np.zeros((len(taken), program.output_width if program.feeds_back else 0), np.float32)
    return program.run(SequenceBatch(inputs, taken, taken, last, np.empty(0, np.int64)), state)


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
    inputs = np.ascontiguousarray(_make_inputs(program, vocabulary_size, steps)[:, rows])
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


def _make_inputs(program: SequenceProgram, vocabulary_size: int, steps: int) -> NDArray[Any]:
    """Return the probe, int64[K, B] or f32[K, B, F], with zeros where more steps follow."""
    if not program.input_width:
        return make_probe(vocabulary_size)
    inputs = np.zeros((steps, ROWS, program.input_width), np.float32)
    inputs[:FORCED_STEPS] = make_vector_probe(program.input_width)
    return inputs

"""Runs a program for nobody: to see that it runs, and how fast."""

import numpy as np

from unrolled_service.graphs.program import NOT_FORCED, Batch, Outcome, Program
from unrolled_service.graphs.sequence_program import SequenceBatch, SequenceOutcome, SequenceProgram


def rehearse_tokens(program: Program, rows: int, steps: int) -> Outcome:
    """Let so many rows generate so many tokens, each with a seed of its own.

    Raises:
        ProgramError: the runtime cannot run it.
    """
    batch = Batch(
        token=np.zeros(rows, np.int64),
        forced=np.full((steps, rows), NOT_FORCED, np.int64),
        position=np.ones(rows, np.int64),
        seed=np.arange(rows, dtype=np.uint64),
        temperature=np.ones((rows, 1), np.float32),
    )
    return program.run(batch, np.tile(program.initial, (rows, 1)))


def rehearse_inputs(program: SequenceProgram, rows: int, steps: int) -> SequenceOutcome:
    """Feed so many rows so many inputs.

    Raises:
        ProgramError: the runtime cannot run it.
    """
    width, every = program.input_width, np.full(rows, steps, np.int64)
    batch = SequenceBatch(
        inputs=np.zeros((steps, rows, width), np.float32) if width else np.zeros((steps, rows), np.int64),
        steps=every,
        forced=every,
        last=np.zeros((rows, program.output_width if program.feeds_back else 0), np.float32),
        traced=np.empty(0, np.int64),
    )
    return program.run(batch, np.tile(program.initial, (rows, 1)))

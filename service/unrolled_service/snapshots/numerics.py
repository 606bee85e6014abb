"""The fingerprint of a machine's arithmetic: hosts with equal ones continue each other's sessions bit for bit.

Which instructions a matrix product, a sigmoid or a sum over the vocabulary is made of depends on processor
and runtime, and so do their last bits. Names and versions do not tell which differ in them; the outputs do.
So a bundle's program runs a fixed probe when it is loaded, and the exact bits of what comes out are hashed.

The probe is ``ROWS`` rows from the zero state, fed the tokens of ``make_probe`` and then sampling
``SAMPLED_STEPS`` more, with ``SEED`` at temperature 1, every step's log-probability described. A cell that
takes vectors is fed those of ``make_vector_probe``; one that chooses no tokens shows its outputs. Random
tokens are text that no model expects: they drive gates and logits to the ends of their ranges, where likely
text does not; the sampled half stays where likely text is. Several rows make products of matrices, not of
vectors. The log-probabilities show how any step rounded, in the cell or in the sampler's exponentials and
sums; the states show the last step to the bit; the tokens show the draws.

Knows arrays alone; pure, for any thread.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

ROWS = 4
FORCED_STEPS = 32
SAMPLED_STEPS = 32
SEED = 0x756E726F6C6C6564
_LABEL = b"unrolled numerics 1"


def make_probe(vocabulary_size: int) -> NDArray[np.int64]:
    """Return the tokens to feed, int64 ``[FORCED_STEPS, ROWS]`` in ``[0, vocabulary_size)``, always the same."""
    numbers = np.frombuffer(hashlib.shake_256(_LABEL).digest(8 * FORCED_STEPS * ROWS), "<u8")
    return (numbers % np.uint64(vocabulary_size)).astype(np.int64).reshape(FORCED_STEPS, ROWS)


def make_vector_probe(width: int) -> NDArray[np.float32]:
    """Return the vectors to feed, f32 ``[FORCED_STEPS, ROWS, width]`` in ``[-2, 2)``, always the same."""
    numbers = np.frombuffer(hashlib.shake_256(_LABEL).digest(4 * FORCED_STEPS * ROWS * width), "<u4")
    scaled = (numbers >> 8).astype(np.float32) * np.float32(2.0**-22) - np.float32(2)
    return scaled.reshape(FORCED_STEPS, ROWS, width)


def fingerprint(outputs: Iterable[NDArray[np.generic]]) -> bytes:
    """Return 32 bytes that are equal where the outputs are, bit for bit.

    Args:
        outputs: what the probe's run gave, always in the same order: tokens, log-probabilities or outputs, states.
    """
    digest = hashlib.sha256(_LABEL)
    for output in outputs:
        plain = np.ascontiguousarray(output, output.dtype.newbyteorder("<"))
        digest.update(f"{plain.dtype.str}{plain.shape}".encode())
        digest.update(plain.tobytes())
    return digest.digest()

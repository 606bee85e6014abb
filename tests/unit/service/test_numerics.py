"""A fingerprint tells arithmetic apart by single bits, and depends on nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unrolled_service.snapshots.numerics import FORCED_STEPS, ROWS, fingerprint, make_probe, make_vector_probe

TOKENS = np.arange(6, dtype=np.int64).reshape(3, 2)
STATE = np.array([[1.0, 0.0, -0.5]], np.float32)


def nudge(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the last number by the least there is."""
    nudged = array.copy()
    nudged[..., -1] = np.nextafter(array[..., -1], np.float32(9))
    return nudged


def test_the_same_bits_have_the_same_fingerprint() -> None:
    strided = np.repeat(TOKENS, 2, axis=1)[:, ::2]

    assert len(fingerprint([TOKENS, STATE])) == 32
    assert fingerprint(iter([strided, STATE.astype(">f4")])) == fingerprint([TOKENS, STATE])


@pytest.mark.parametrize(
    "others",
    [
        [TOKENS, nudge(STATE)],
        [TOKENS, STATE * np.array([1, -1, 1], np.float32)],  # the sign of a zero
        [TOKENS + np.eye(3, 2, dtype=np.int64), STATE],
        [TOKENS, STATE.astype(np.float64)],
        [TOKENS, STATE.T],
        [STATE, TOKENS],
        [TOKENS, STATE, STATE],
        [TOKENS, STATE[:, :2], STATE[:, 2:]],
    ],
)
def test_one_other_bit_has_another_fingerprint(others: list[NDArray[np.generic]]) -> None:
    assert fingerprint(others) != fingerprint([TOKENS, STATE])


def test_a_fingerprint_is_the_same_everywhere() -> None:
    assert fingerprint([TOKENS, STATE]).hex() == "69710692a3161a9e566e6d6b02b5df6d093e571590e3fd2b42d2ffea40bcaf09"


@pytest.mark.parametrize("size", [2, 26, 96])
def test_the_probe_takes_tokens_of_the_vocabulary(size: int) -> None:
    probe = make_probe(size)

    assert probe.shape == (FORCED_STEPS, ROWS)
    assert {*np.unique(probe)} <= {*range(size)}
    assert len(np.unique(probe)) > 0.6 * size
    assert len(np.unique(probe, axis=1).T) == ROWS


def test_the_probe_never_changes() -> None:
    assert make_probe(96)[:6, 0].tolist() == [84, 74, 5, 15, 66, 5]


@pytest.mark.parametrize("width", [1, 3, 64])
def test_the_probe_takes_vectors_of_any_width(width: int) -> None:
    probe = make_vector_probe(width)

    assert probe.shape == (FORCED_STEPS, ROWS, width)
    assert probe.dtype == np.float32
    assert -2 <= probe.min() < -1
    assert 1 < probe.max() < 2
    assert len(np.unique(probe)) > 0.99 * probe.size


def test_the_vectors_never_change() -> None:
    assert make_vector_probe(1)[:3, 0, 0].tolist() == [-1.5178139209747314, 0.5131356716156006, 0.25440549850463867]

"""The sampling law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unrolled_export.reference import Floats, choose, mix64, uniform

KNOWN = {
    (0, 0): 4727170,
    (0, 1): 10946269,
    (1, 0): 14476323,
    (42, 16): 12910947,
    (2**64 - 1, 10**12): 4582640,
}
LOGITS = arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32))
DRAWN = st.integers(0, 2**24 - 1).map(lambda n: np.float32(n * 2.0**-24))


def test_uniform_is_fixed_for_ever() -> None:
    assert {key: float(uniform(*key)) * 2**24 for key in KNOWN} == KNOWN


def test_mix64_is_splitmix64() -> None:
    # The first two outputs of SplitMix64 seeded with 0, as published with the generator.
    gamma = 0x9E3779B97F4A7C15
    assert mix64(gamma) == 0xE220A8397B1DCDAF
    assert mix64(2 * gamma % 2**64) == 0x6E789E6AA1B965F4


def test_uniform_is_uniform() -> None:
    drawn = [float(uniform(7, position)) for position in range(4000)]
    assert min(drawn) >= 0
    assert max(drawn) < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 45


@given(LOGITS, DRAWN)
def test_greedy_is_the_first_largest(logits: Floats, drawn: np.float32) -> None:
    assert choose(logits, drawn, temperature=0).token == int(np.argmax(logits))


@given(LOGITS, DRAWN, st.floats(0.1, 3))
def test_top_k_of_one_is_among_the_largest(logits: Floats, drawn: np.float32, temperature: float) -> None:
    logits = np.round(logits)
    token = choose(logits, drawn, temperature, top_k=1).token
    assert logits[token] == logits.max()


@given(LOGITS, DRAWN, st.floats(0.1, 3), st.integers(0, 50), st.floats(0.01, 1), st.floats(0, 1))
def test_choice_is_kept_and_has_mass(
    logits: Floats, drawn: np.float32, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    choice = choose(logits, drawn, temperature, top_k, top_p, min_p)
    assert 0 <= choice.token < len(logits)
    assert choice.margin >= 0
    powers = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    shares = powers / powers.sum()
    assert shares[choice.token] >= min_p * shares.max() * (1 - 1e-4)
    larger = np.count_nonzero(shares > shares[choice.token] * (1 + 1e-4))
    assert larger < top_k or not 0 < top_k < len(logits)
    assert shares[shares > shares[choice.token] * (1 + 1e-4)].sum() <= top_p + 1e-4


@given(LOGITS, DRAWN)
def test_off_switches_are_off(logits: Floats, drawn: np.float32) -> None:
    wanted = choose(logits, drawn)
    assert choose(logits, drawn, 1.0, len(logits), 1.0, 0.0) == wanted
    assert choose(logits, drawn, 1.0, len(logits) + 9, 1.0, 0.0) == wanted


def test_top_p_worked_by_hand() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.25, 0.15], np.float32))
    kept = {choose(logits, drawn, top_p=0.6).token for drawn in np.linspace(0, 0.999, 200, dtype=np.float32)}
    assert kept == {1, 2}
    assert choose(logits, 0.66, top_p=0.6).token == 1
    assert choose(logits, 0.67, top_p=0.6).token == 2


def test_margin_is_the_distance_to_the_nearer_border() -> None:
    logits = np.zeros(4, np.float32)
    assert choose(logits, 0.3).margin == pytest.approx(0.05)
    assert choose(logits, 0.45).margin == pytest.approx(0.05)
    assert choose(np.array([1, 3, 2.5], np.float32), 0.0, temperature=0).margin == pytest.approx(0.5)

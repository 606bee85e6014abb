"""The sampling law in NumPy: what every program of this project must draw.

A draw has no hidden state: it is a function of a seed and of the number of tokens before it. Torch-free; the
golden run is made with it and tests compare other implementations against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def mix64(z: int) -> int:
    """Scramble 64 bits: the finaliser of SplitMix64.

    Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA.
    """
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def uniform(seed: int, position: int) -> np.float32:
    """Draw from [0, 1), a multiple of 2^-24, for the token that `position` tokens precede.

    `seed` and `position` are 0 to 2^64 - 1.
    """
    key = mix64((seed + GAMMA) & MASK)
    bits = mix64((key + position * GAMMA) & MASK)
    return np.float32((bits >> 40) * 2.0**-24)


@dataclass(frozen=True)
class Choice:
    """Hold a choice and how far it was from another one.

    Attributes:
        token: place in the vocabulary.
        margin: distance to the nearer border: of the drawn point to those of the token's interval, in
            probability; of the largest logit to the second, when the choice is greedy.
    """

    token: int
    margin: float


def choose(
    logits: Floats,
    drawn: np.float32 | float,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Choice:
    """Choose a token from `logits`, f32 `[V]`, with the uniform number `drawn`. All arithmetic is float32.

    Temperature 0 takes the first largest logit. Otherwise `min_p` and `top_k` cut the softmax at a threshold,
    `top_p` keeps the smallest head of the rest that has its share, ties with the last one kept stay, and
    the token is the interval of the running sum, in vocabulary order, that the drawn point falls into.
    """
    logits = logits.astype(np.float32)
    if temperature == 0:
        top = np.partition(logits, -2)[-2:]
        return Choice(int(np.argmax(logits)), float(top[1]) - float(top[0]))
    masses = _kept_masses(_softmax(logits / np.float32(temperature)), top_k, np.float32(top_p), np.float32(min_p))
    borders = np.cumsum(masses, dtype=np.float32)
    point = np.float32(drawn) * borders[-1]
    token = int(np.count_nonzero(borders <= point))
    lower = borders[token - 1] if token else np.float32(0)
    return Choice(token, float(min(point - lower, borders[token] - point)))


def _softmax(logits: Floats) -> Floats:
    powers: Floats = np.exp(logits - logits.max())
    shares: Floats = powers / powers.sum(dtype=np.float32)
    return shares


def _kept_masses(shares: Floats, top_k: int, top_p: np.float32, min_p: np.float32) -> Floats:
    ordered = np.sort(shares)[::-1]
    threshold = min_p * ordered[0]
    if 0 < top_k < len(ordered):
        threshold = max(threshold, ordered[top_k - 1])
    head = np.where(ordered >= threshold, ordered, np.float32(0))
    before = np.cumsum(head, dtype=np.float32) - head
    kept = head[(before < top_p * head.sum(dtype=np.float32)) & (head > 0)]
    masses: Floats = np.where(shares >= kept[-1], shares, np.float32(0))
    return masses

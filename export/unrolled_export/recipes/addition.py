"""Encoder-decoder: `59+8` is read, `67` is written (after Sutskever et al. 2014, arXiv:1410.4615)."""

from __future__ import annotations

import string

import numpy as np

from unrolled_export.lesson import Lesson, Settings
from unrolled_export.transduction import Pair, teach_pairs

DIGITS, HELD_OUT = 3, 1000


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    config = settings.model("gru", 128)
    fitting = settings.fitting(120, updates=100, batch=128, learning_rate=4e-3, enough=2e-3)
    dataset = f"{HELD_OUT:,} sums of two numbers of 1 to {DIGITS} digits"
    letters = (string.digits + "+", string.digits)
    return teach_pairs(make_pair, HELD_OUT, dataset, letters, config, config, fitting, DIGITS + 1)


def make_pair(generator: np.random.Generator) -> Pair:
    """Draw two numbers, each of 1 to 3 digits with equal chance."""
    first, second = (int(generator.integers(10 ** generator.integers(1, DIGITS + 1))) for _ in range(2))
    return f"{first}+{second}", str(first + second)

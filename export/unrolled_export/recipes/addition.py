"""Encoder-decoder: `59+8` is read, `67` is written (after Sutskever et al. 2014, arXiv:1410.4615).

Of the 10,000 sums of numbers below 100 an eighth is set aside: it learns to add, not a table.
"""

from __future__ import annotations

import string

import numpy as np

from unrolled_export.lesson import Lesson, Settings
from unrolled_export.transduction import Pair, teach_pairs

DIGITS, HELD_OUT = 2, 1000


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    config = settings.model("gru", 128)
    fitting = settings.fitting(50, updates=100, batch=128, learning_rate=4e-3, enough=3e-4)
    dataset = f"{HELD_OUT:,} sums of two numbers below {10**DIGITS}"
    letters = (string.digits + "+", string.digits)
    return teach_pairs(make_pair, HELD_OUT, dataset, letters, config, config, fitting, DIGITS + 1)


def make_pair(generator: np.random.Generator) -> Pair:
    """Draw two numbers, all with equal chance."""
    first, second = generator.integers(10**DIGITS, size=2)
    return f"{first}+{second}", str(first + second)

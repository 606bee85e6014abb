"""Encoder-decoder: letters are read forwards and written backwards, all through one vector."""

from __future__ import annotations

import string

import numpy as np

from unrolled_export.lesson import Lesson, Settings
from unrolled_export.transduction import Pair, teach_pairs

LETTERS, LONGEST, HELD_OUT = string.ascii_lowercase, 8, 1000


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    config = settings.model("gru", 192)
    fitting = settings.fitting(60, updates=100, batch=128, learning_rate=4e-3, enough=1e-3)
    dataset = f"{HELD_OUT:,} strings of 3 to {LONGEST} letters"
    return teach_pairs(make_pair, HELD_OUT, dataset, (LETTERS, LETTERS), config, config, fitting, LONGEST)


def make_pair(generator: np.random.Generator) -> Pair:
    """Draw letters, and turn them round."""
    places = generator.integers(len(LETTERS), size=generator.integers(3, LONGEST + 1))
    word = "".join(LETTERS[place] for place in places)
    return word, word[::-1]

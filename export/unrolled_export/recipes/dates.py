"""Encoder-decoder: a date in one of many spellings is read and written as 2031-05-03.

The decoder is smaller than the encoder, and a bridge between them makes its first state.
"""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from unrolled_export.lesson import Lesson, Settings
from unrolled_export.transduction import Pair, teach_pairs

FIRST, DAYS, HELD_OUT = date(1950, 1, 1), 40_000, 1000
SPELLINGS = (
    "{day} {month} {year}",
    "{day} {short} {year}",
    "{month} {day}, {year}",
    "{short} {day}, {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{day:02}.{number:02}.{year}",
    "{day}.{number}.{year}",
    "{year}/{number:02}/{day:02}",
)
# Written out, as `strftime` speaks the language of the machine.
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    encoder = settings.model("gru", 64)
    decoder = replace(encoder, hidden=max(1, encoder.hidden * 3 // 4))
    fitting = settings.fitting(40, updates=100, batch=128, learning_rate=4e-3, enough=5e-4)
    letters = ("".join(sorted({*string.ascii_letters, *string.digits, *" ,./"})), "-" + string.digits)
    dataset = f"{HELD_OUT:,} dates of 1950 to 2059, as they were not spelled in training"
    return teach_pairs(make_pair, HELD_OUT, dataset, letters, encoder, decoder, fitting, len("2031-05-03"))


def make_pair(generator: np.random.Generator) -> Pair:
    """Draw a day and a spelling."""
    day = FIRST + timedelta(days=int(generator.integers(DAYS)))
    spelling = SPELLINGS[generator.integers(len(SPELLINGS))]
    month = MONTHS[day.month - 1]
    words = {"month": month, "short": month[:3], "weekday": WEEKDAYS[day.weekday()]}
    return spelling.format(day=day.day, number=day.month, year=day.year, **words), day.isoformat()

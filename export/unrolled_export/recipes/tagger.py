"""Many to many, aligned: every character of a text is answered with its kind as soon as it is read.

That a letter begins a word is not seen in the letter: the state has to know what came before.
"""

from __future__ import annotations

import numpy as np
import torch

from unrolled.v1.bundle_pb2 import MODALITY_LABEL, TASK_TAG, Example, Examples, Manifest, Port, Series
from unrolled_export.bptt import Batch
from unrolled_export.ensemble import Ensemble
from unrolled_export.lesson import Lesson, Settings, describe_states, draw_generator
from unrolled_export.model import SequenceModel
from unrolled_export.vocabulary import Vocabulary

VOWELS, CONSONANTS, MARKS = "aeiou", "bcdfghjklmnpqrstvwxyz", ",.!?;:-'"
LETTERS = VOWELS + CONSONANTS
VOCABULARY = Vocabulary("".join(sorted({*LETTERS, *LETTERS.upper(), *MARKS, *"0123456789", " "})))
NAMES = ["space", "digit", "mark"] + [
    f"{kind}, {case}{start}"
    for kind in ("vowel", "consonant")
    for case in ("lower case", "upper case")
    for start in ("", ", starts a word")
]
HELD_OUT, VALIDATION, LONGEST = 300, 100, 60


def prepare(settings: Settings) -> Lesson:
    """Teach it."""
    config = settings.model("gru", 32)
    torch.manual_seed(settings.seed)
    model = Ensemble(SequenceModel(config, len(VOCABULARY), len(NAMES), reads_tokens=True))
    apart = np.random.default_rng([settings.seed, 2])
    examples = Examples(dataset=f"{HELD_OUT} made-up lines")
    for text in (make_text(apart) for _ in range(HELD_OUT)):
        inputs = Series(tokens=VOCABULARY.encode(text))
        examples.examples.append(Example(inputs=inputs, wanted=Series(tokens=tag(text))))
    return Lesson(
        model,
        Manifest(
            task=TASK_TAG,
            vocabulary=list(VOCABULARY.characters),
            states=describe_states(config),
            output=Port(modality=MODALITY_LABEL, width=len(NAMES), names=NAMES),
        ),
        _draw,
        _to_batch([make_text(apart) for _ in range(VALIDATION)]),
        examples,
        settings.fitting(15, updates=50, batch=32, learning_rate=5e-3, enough=1e-4),
    )


def _draw(size: int) -> Batch:
    generator = draw_generator()
    return _to_batch([make_text(generator) for _ in range(size)])


def make_text(generator: np.random.Generator) -> str:
    """Make words of syllables, in any case, with numbers and marks, 10 to 60 characters together."""
    words: list[str] = []
    length = generator.integers(10, LONGEST + 1)
    while sum(map(len, words)) + len(words) < length:
        syllables = ["".join(generator.choice(list(CONSONANTS), 1)) + "".join(generator.choice(list(VOWELS), 1))]
        syllables += ["".join(generator.choice(list(LETTERS), 2)) for _ in range(generator.integers(0, 3))]
        word = "".join(syllables)[generator.integers(0, 2) :]
        word = [word, word, word.title(), word.upper(), str(generator.integers(1000))][generator.integers(5)]
        words.append(word + (MARKS[generator.integers(len(MARKS))] if generator.random() < 0.2 else ""))
    return " ".join(words)[:length]


def tag(text: str) -> list[int]:
    """Give the place in `NAMES` for every character."""
    return [NAMES.index(_name(letter, before)) for letter, before in zip(text, " " + text, strict=False)]


def _name(letter: str, before: str) -> str:
    if not letter.isalpha():
        return "space" if letter == " " else "digit" if letter.isdigit() else "mark"
    kind = "vowel" if letter.lower() in VOWELS else "consonant"
    start = "" if before.isalnum() else ", starts a word"
    return f"{kind}, {'upper' if letter.isupper() else 'lower'} case{start}"


def _to_batch(texts: list[str]) -> Batch:
    steps = max(map(len, texts))
    inputs, targets = (torch.zeros(steps, len(texts), dtype=torch.int64) for _ in range(2))
    mask = torch.zeros(steps, len(texts))
    for place, text in enumerate(texts):
        inputs[: len(text), place] = torch.tensor(VOCABULARY.encode(text))
        targets[: len(text), place] = torch.tensor(tag(text))
        mask[: len(text), place] = 1
    return Batch(inputs, targets, mask)

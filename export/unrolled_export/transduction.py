"""Pairs of strings as batches and as held-out items, for recipes that translate through a context vector.

A line end starts and ends every target, so both vocabularies are ordinary characters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unrolled.v1.bundle_pb2 import TASK_TRANSDUCE, Encoder, Example, Examples, Feedback, Manifest, Series
from unrolled_export.bptt import Batch
from unrolled_export.config import ModelConfig
from unrolled_export.ensemble import Ensemble
from unrolled_export.fitting import FittingConfig
from unrolled_export.lesson import Lesson, describe_states, draw_generator
from unrolled_export.model import SequenceModel
from unrolled_export.vocabulary import Vocabulary

END = "\n"
VALIDATION = 256
Pair = tuple[str, str]
Maker = Callable[[np.random.Generator], Pair]


def teach_pairs(
    make: Maker,
    held_out: int,
    dataset: str,
    letters: tuple[str, str],
    encoder: ModelConfig,
    decoder: ModelConfig,
    fitting: FittingConfig,
    longest: int,
) -> Lesson:
    """Teach a model to write the second string of a pair from the first.

    Args:
        make: makes a pair; equal sources have equal targets.
        held_out: how many different sources are set aside, in which the training has no part.
        dataset: what they are, in words.
        letters: characters of sources and of targets.
        encoder: layers that read the source.
        decoder: layers that write the target.
        fitting: how it is trained.
        longest: characters of the longest target.
    """
    source, target = Vocabulary(letters[0]), Vocabulary(END + letters[1])
    apart = dict(_draw_different(make, held_out + VALIDATION, np.random.default_rng([fitting.seed, 1])))
    kept = list(apart.items())

    def draw(size: int) -> Batch:
        generator = draw_generator()
        pairs: list[Pair] = []
        while len(pairs) < size:
            pair = make(generator)
            if pair[0] not in apart:
                pairs.append(pair)
        return to_batch(pairs, source, target)

    torch.manual_seed(fitting.seed)
    reader = SequenceModel(encoder, len(source), 0, reads_tokens=True)
    writer = SequenceModel(decoder, len(target), len(target), reads_tokens=True)
    model = Ensemble(writer, encoder=reader)
    manifest = Manifest(
        task=TASK_TRANSDUCE,
        vocabulary=list(target.characters),
        states=describe_states(decoder),
        encoder=Encoder(
            vocabulary=list(source.characters),
            states=describe_states(encoder),
            has_bridge=model.bridge is not None,
        ),
        feedback=Feedback(start_token=0, end_token=0, length=longest + 1),
    )
    examples = Examples(dataset=dataset)
    for given, wanted in kept[:held_out]:
        examples.examples.append(
            Example(source=Series(tokens=source.encode(given)), wanted=Series(tokens=target.encode(wanted)))
        )
    validation = to_batch(kept[held_out:], source, target)
    return Lesson(model, manifest, draw, validation, examples, fitting)


def to_batch(pairs: Sequence[Pair], source: Vocabulary, target: Vocabulary) -> Batch:
    """Pad pairs to one length; what is fed is the target, one step late."""
    given = [source.encode(pair[0]) for pair in pairs]
    wanted = [target.encode(END + pair[1] + END) for pair in pairs]
    steps = max(map(len, wanted)) - 1
    rows = torch.zeros(steps + 1, len(pairs), dtype=torch.int64)
    mask = torch.zeros(steps, len(pairs))
    sources = torch.zeros(max(map(len, given)), len(pairs), dtype=torch.int64)
    for place, (read, written) in enumerate(zip(given, wanted, strict=True)):
        rows[: len(written), place] = torch.tensor(written)
        mask[: len(written) - 1, place] = 1
        sources[: len(read), place] = torch.tensor(read)
    return Batch(rows[:-1], rows[1:], mask, source=sources, lengths=torch.tensor([len(read) for read in given]))


def _draw_different(make: Maker, count: int, generator: np.random.Generator) -> dict[str, str]:
    found: dict[str, str] = {}
    while len(found) < count:
        source, target = make(generator)
        found[source] = target
    return found

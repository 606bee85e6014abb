"""The tokens on which the forms of a model are compared: its held-out text."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unrolled_export.corpus import Corpus, read_text
from unrolled_export.errors import CheckpointError
from unrolled_export.trained import Trained
from unrolled_export.variant import Text


def choose_text(trained: Trained, file: Path | None) -> Text:
    """Take the held-out part of `file`, the text of the training, or what the checkpoint has of it.

    A model that nothing was held out for is measured on the whole of `file`.

    Raises:
        CheckpointError: the checkpoint has no held-out text, or `file` is not the text it was trained on.
        CorpusError: `file` cannot be read.
    """
    if file is not None:
        return Text(_find_again(trained, file).numpy(), trained.dataset)
    measured, sample = trained.evaluation, trained.sample
    if measured is None or len(sample) < 2:
        raise CheckpointError("the checkpoint has no held-out text to measure a variant on: name its text with --text")
    is_whole = len(sample) > measured.characters
    dataset = trained.dataset if is_whole else f"the first {len(sample):,} characters of {trained.dataset}"
    return Text(sample.numpy(), dataset)


def _find_again(trained: Trained, file: Path) -> Tensor:
    share = trained.settings["validation"]
    corpus = Corpus.of(read_text(file), file.name, share)
    refusal = f"{file.name} is not the text that the model was trained on"
    if corpus.vocabulary != trained.vocabulary:
        differing = "".join(sorted(set(corpus.vocabulary.characters) ^ set(trained.vocabulary.characters)))
        raise CheckpointError(f"{refusal}: they differ in the characters {differing[:20]!r}")
    tokens, measured, sample = corpus.validation if share else corpus.training, trained.evaluation, trained.sample
    if measured is not None:
        predicted = len(tokens) // measured.streams * measured.streams - measured.streams
        if predicted != measured.characters:
            raise CheckpointError(f"{refusal}: its length gives {predicted:,} characters, not {measured.characters:,}")
    if not torch.equal(tokens[: len(sample)], sample):
        raise CheckpointError(f"{refusal}: its characters come in another order")
    return tokens

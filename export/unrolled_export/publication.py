"""A trained character model as a bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from unrolled.v1.bundle_pb2 import Architecture, Evaluation, Manifest, State
from unrolled_export.authoring import export_cell
from unrolled_export.card import ModelCard
from unrolled_export.errors import CellError
from unrolled_export.held_out import choose_text
from unrolled_export.minimal import MinimalRecurrence
from unrolled_export.parity import Reading
from unrolled_export.quantisation import PRECISION, quantise_cell
from unrolled_export.step import RecurrentStep
from unrolled_export.trained import Trained, read_trained
from unrolled_export.variant import ACCEPTED_LOSS, Recipe

PROMPT_LENGTH = 16
PROMPTS = 8
CURVE_FILES = ("curve.csv", "curve.png")


def publish(
    checkpoint: Path,
    output: Path,
    *,
    name: str,
    description: str = "",
    licence: str = "not stated",
    precision: Literal["fp32", "int8"] = "fp32",
    text: Path | None = None,
    accepted_loss: float = ACCEPTED_LOSS,
    force: bool = False,
) -> Manifest:
    """Export the model of `checkpoint`, a file or the folder of a run, to the bundle `output`.

    Args:
        checkpoint: what was trained.
        output: the bundle's folder, made here.
        name: what callers will ask for.
        description: one line for people; the kind and size of the model where omitted.
        licence: licence of the weights, in words.
        precision: "int8" adds that variant to fp32.
        text: the text of the training, to measure the variant on its held-out part; where omitted, what the
            checkpoint has of it.
        accepted_loss: how much worse than fp32 the variant may be, in nats per character.
        force: replace a bundle that is there.

    Raises:
        CheckpointError: there is no trained model, or `text` is not the one it was trained on.
        CorpusError: `text` cannot be read.
        CellError: the exported cell differs from PyTorch's, or the variant loses too much; nothing is left
            behind.
        BundleError: the name or the place will not do.
    """
    trained = read_trained(checkpoint)
    model = trained.build()
    config = trained.model
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    curve = {file: (folder / file).read_bytes() for file in CURVE_FILES if (folder / file).is_file()}

    def read(tokens: Tensor) -> Tensor:
        logits: Tensor = model(tokens, model.zero_state(tokens.shape[1]))[0]
        return logits

    kind = type(model.recurrence).__name__
    is_minimal = isinstance(model.recurrence, MinimalRecurrence)
    oracles: dict[str, Reading] = {"the parallel scan" if is_minimal else f"torch.nn.{kind}": read}
    states = [
        State(input=state, output=f"new_{state}", dtype="float32", shape=[config.hidden])
        for state in config.state_names
    ]
    variants = []
    if precision == PRECISION:
        if is_minimal:
            raise CellError(f"{config.cell} has no {PRECISION} variant: its states are not bounded")
        # A hidden state is an output of tanh, a share of one, or a mean of several; a memory c is not bounded.
        hidden = [state for state in states if state.input.startswith("h")]
        quantise = partial(quantise_cell, bounded=hidden)
        variants.append(Recipe(PRECISION, quantise, choose_text(trained, text), accepted_loss))
    return export_cell(
        RecurrentStep(model),
        states=states,
        vocabulary=list(trained.vocabulary.characters),
        name=name,
        output=output,
        description=description or _describe(trained),
        architecture=Architecture(
            cell=config.cell,
            layers=config.layers,
            hidden_size=config.hidden,
            embedding_size=config.embedding,
            parameters=sum(weight.numel() for weight in model.parameters()),
        ),
        evaluation=_evaluation(trained),
        prompts=_prompts(trained),
        oracles=oracles,
        variants=variants,
        write_card=ModelCard(trained, licence, "curve.png" in curve),
        extra_files=curve,
        force=force,
    )


def _describe(trained: Trained) -> str:
    model = trained.model
    return f"Character model: {model.cell}, {model.layers} x {model.hidden}"


def _evaluation(trained: Trained) -> Evaluation | None:
    measured = trained.evaluation
    if measured is None:
        return None
    return Evaluation(
        dataset=trained.dataset,
        nats_per_char=measured.nats_per_char,
        bits_per_char=measured.bits_per_char,
        characters=measured.characters,
    )


def _prompts(trained: Trained) -> list[list[int]]:
    sample: list[int] = trained.sample.tolist()
    starts = range(0, len(sample) - PROMPT_LENGTH + 1, PROMPT_LENGTH)
    return [sample[start : start + PROMPT_LENGTH] for start in starts[:PROMPTS]] or [sample[:1]]

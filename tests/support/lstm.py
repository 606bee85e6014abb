"""A small LSTM with random weights as a bundle, for tests in which the arithmetic matters."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unrolled.v1.bundle_pb2 import State
from unrolled_export.authoring import export_cell
from unrolled_export.config import ModelConfig
from unrolled_export.model import CharacterModel
from unrolled_export.quantisation import quantise_cell
from unrolled_export.step import RecurrentStep
from unrolled_export.variant import Recipe, Text

LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n"


def write_lstm_bundle(
    folder: Path, *, hidden: int = 32, layers: int = 2, int8: bool = False, letters: Sequence[str] = LETTERS
) -> Path:
    """Write the bundle, with an int8 variant if asked for, and return its folder."""
    config = ModelConfig(cell="lstm", layers=layers, hidden=hidden)
    torch.manual_seed(5)
    model = CharacterModel(config, len(letters)).eval()
    with torch.no_grad():
        model.decoder.weight *= 8  # untrained logits are flat; these have opinions
    states = [State(input=name, output=f"new_{name}", dtype="float32", shape=[hidden]) for name in config.state_names]
    bounded = [state for state in states if state.input.startswith("h")]
    text = Text(np.random.default_rng(1).integers(0, len(letters), 1000), "random letters")
    export_cell(
        RecurrentStep(model),
        states=states,
        vocabulary=letters,
        name="lstm",
        output=folder,
        variants=[Recipe("int8", partial(quantise_cell, bounded=bounded), text, accepted_loss=10.0)] if int8 else [],
    )
    return folder

"""The reference cells: LSTMs with random weights, as bundles with an int8 variant."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unrolled.v1.bundle_pb2 import State
from unrolled_export.manifest import MANIFEST_FILE, parse_manifest
from unrolled_service.settings import Precision

VOCABULARY = [chr(code) for code in range(32, 128)]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
_FOLDER = Path("build/bench")


@dataclass(frozen=True)
class Shape:
    """The shape of an LSTM over the vocabulary."""

    layers: int
    hidden: int

    def __str__(self) -> str:
        return f"{self.layers}x{self.hidden}"

    @property
    def state_names(self) -> list[str]:
        """Names of the states in order: h0, c0, h1, ..."""
        return [f"{kind}{layer}" for layer in range(self.layers) for kind in "hc"]


def make_bundle(shape: Shape) -> Path:
    """Return the bundle of an LSTM with random weights, made on first use."""
    folder = _FOLDER / f"lstm-{shape}"
    if not _has_variants(folder):
        _export(shape, folder)
    return folder


def _has_variants(folder: Path) -> bool:
    if not (folder / MANIFEST_FILE).exists():
        return False
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    return {"fp32", *(variant.precision for variant in manifest.variants)} == set(PRECISIONS)


def _export(shape: Shape, folder: Path) -> None:
    import torch  # noqa: PLC0415 - only where a bundle is not there yet

    from unrolled_export.authoring import export_cell  # noqa: PLC0415
    from unrolled_export.config import ModelConfig  # noqa: PLC0415
    from unrolled_export.model import CharacterModel  # noqa: PLC0415
    from unrolled_export.quantisation import PRECISION, quantise_cell  # noqa: PLC0415
    from unrolled_export.step import RecurrentStep  # noqa: PLC0415
    from unrolled_export.variant import Recipe, Text  # noqa: PLC0415

    torch.manual_seed(0)
    model = CharacterModel(ModelConfig("lstm", shape.layers, shape.hidden), len(VOCABULARY)).eval()
    states = [
        State(input=name, output=f"new_{name}", dtype="float32", shape=[shape.hidden]) for name in shape.state_names
    ]
    # There is no text that random weights could be measured on, and nothing that they could lose.
    text = Text(np.arange(len(VOCABULARY), dtype=np.int64), "nothing: its weights are random")
    quantise = partial(quantise_cell, bounded=[state for state in states if state.input.startswith("h")])
    export_cell(
        RecurrentStep(model),
        states=states,
        vocabulary=VOCABULARY,
        name=f"lstm-{shape}",
        output=folder,
        variants=[Recipe(PRECISION, quantise, text, math.inf)],
        force=True,
    )

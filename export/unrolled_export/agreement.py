"""Whether the graphs of any shape compute together, over whole sequences, what was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.v1.bundle_pb2 import MODALITY_LABEL, MODALITY_TOKEN, Manifest, Port
from unrolled_export.errors import CellError
from unrolled_export.parity import BATCHES, STEPS, TOLERANCE
from unrolled_export.player import Feed, Player
from unrolled_export.reference import Floats
from unrolled_export.shape import BRIDGE_FILE, CELL_FILE, CONDITION_FILE, ENCODER_FILE, modality

FeedReading = Callable[[Feed], Floats]
"""Reads a batch from position 0 and gives the output after each input, f32 `[T, B, O]`."""


def check_agreement(player: Player, oracles: Mapping[str, FeedReading]) -> None:
    """Compare outputs over sequences of random inputs at batch 1, 3 and 64.

    Where a step's largest output is above 1, its outputs may differ by that much more: the logits of a trained decoder
    reach 50 and are sums of such, where 1e-4 is a few units in the last place, and random inputs are none that it was
    trained on.

    Raises:
        CellError: they differ by more than 1e-4 from those of an oracle, which is named.
    """
    generator = np.random.default_rng(0)
    for batch in BATCHES:
        feed = _draw_feed(generator, player.manifest, batch)
        given = player.read(feed)
        for name, oracle in oracles.items():
            wanted = oracle(feed)
            if wanted.shape != given.shape:
                raise CellError(f"the exported outputs are {given.shape}, those of {name} {wanted.shape}")
            differences = np.abs(given - wanted) / np.maximum(1, np.abs(wanted).max(axis=2, keepdims=True))
            difference = float(differences.max())
            if not difference <= TOLERANCE:
                step = int(np.argmax(differences.max(axis=(1, 2)) > TOLERANCE))
                raise CellError(
                    f"the exported graphs differ from {name} at batch {batch}: "
                    f"outputs by {difference:.3g}, first above {TOLERANCE:g} at step {step}"
                )


def stepped_together(modules: Mapping[str, nn.Module], manifest: Manifest) -> FeedReading:
    """Read a batch by repeating one step of the modules themselves."""

    @torch.no_grad()
    def read(feed: Feed) -> Floats:
        inputs = torch.from_numpy(feed.inputs)
        batch = inputs.shape[1]
        carried = [torch.full((batch, *state.shape), state.initial) for state in manifest.states]
        if CONDITION_FILE in modules and feed.condition is not None:
            carried = _listed(modules[CONDITION_FILE](torch.from_numpy(feed.condition)))
        if ENCODER_FILE in modules and feed.source is not None:
            states = manifest.encoder.states
            carried = [torch.full((batch, *state.shape), state.initial) for state in states]
            for row in torch.from_numpy(feed.source):
                carried = _listed(modules[ENCODER_FILE](row, *carried))
            if BRIDGE_FILE in modules:
                carried = _listed(modules[BRIDGE_FILE](*carried))
        outputs = []
        for row in inputs:
            now, *carried = _listed(modules[CELL_FILE](row, *carried))
            outputs.append(now)
        read: Floats = torch.stack(outputs).numpy()
        return read

    return read


def _listed(given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return list(given) if isinstance(given, tuple | list) else [given]  # type: ignore[list-item]


def _draw_feed(generator: np.random.Generator, manifest: Manifest, batch: int) -> Feed:
    condition, source = None, None
    if manifest.HasField("condition"):
        condition = _draw(generator, manifest.condition.port, 0, (batch,))
    if manifest.HasField("encoder"):
        encoder = manifest.encoder
        source = _draw(generator, encoder.input, len(encoder.vocabulary), (STEPS, batch))
    return Feed(_draw(generator, manifest.input, len(manifest.vocabulary), (STEPS, batch)), condition, source)


def _draw(generator: np.random.Generator, port: Port, tokens: int, extents: tuple[int, ...]) -> NDArray[Any]:
    if modality(port) == MODALITY_TOKEN:
        return generator.integers(0, tokens, extents)
    if modality(port) == MODALITY_LABEL:
        return np.eye(port.width, dtype=np.float32)[generator.integers(0, port.width, extents)]
    return generator.standard_normal((*extents, port.width)).astype(np.float32)

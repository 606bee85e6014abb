"""What a bundle must answer: its exported graphs a step at a time, one row, from position 0.

The cell is as it was exported, without a loop around it; nothing of the service computes here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from tests.support.shapes import make_shape
from unrolled.v1.bundle_pb2 import MODALITY_LABEL, Manifest
from unrolled_export.player import Player
from unrolled_export.reference import Choice, choose, uniform
from unrolled_service.models.bundle import Bundle, load_bundle

Floats = NDArray[np.float32]
Inputs = NDArray[Any]
"""int64[N] tokens or f32[N, F] vectors."""
State = dict[str, Floats]


@dataclass(frozen=True)
class Run:
    """What came of some inputs: ``outputs`` f32[N, O], and ``states`` f32[N, S] after each."""

    outputs: Floats
    states: Floats


class Reference:
    """One bundle.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest = json_format.Parse((folder / "manifest.json").read_text(), Manifest())
        self.player = Player(self.manifest, {name: (folder / name).read_bytes() for name in self.manifest.files})

    def begin(self, *, condition: Floats | None = None, source: Inputs | None = None) -> State:
        """Return the state at position 0, for a condition f32[C] or a source."""
        return self.player.begin(
            1, None if condition is None else condition[None], None if source is None else source[:, None]
        )

    def step(self, given: Any, state: State) -> tuple[Floats, State]:
        """Feed one token, or one vector; return the output f32[O] and the new state."""
        one = np.array([given], np.int64 if np.ndim(given) == 0 else np.float32)
        output, after = self.player.cell.step(one, state)
        return output[0], after

    def flatten(self, state: State) -> Floats:
        """Return a state as one row, f32[S], in the manifest's order."""
        none = np.empty(0, np.float32)
        return np.concatenate([none, *(state[each.input].ravel() for each in self.manifest.states)])

    def read(self, inputs: Inputs, state: State | None = None) -> Run:
        """Feed inputs, at least one, from a state or the zero state."""
        state = self.begin() if state is None else state
        outputs, states = [], []
        for given in inputs:
            output, state = self.step(given, state)
            outputs.append(output)
            states.append(self.flatten(state))
        return Run(np.stack(outputs), np.stack(states))

    def draw(self, fed: Inputs, count: int, state: State) -> Run:
        """Feed vectors, at least one, then what comes of them; return the last ``count`` outputs."""
        outputs, states = [], []
        given = list(fed)
        for i in range(len(fed) + count - 1):
            output, state = self.step(given[i], state)
            if i >= len(fed) - 1:
                outputs.append(output)
                states.append(self.flatten(state))
                given.append(output)
        return Run(np.stack(outputs), np.stack(states))

    def sample(
        self, fed: Sequence[int], count: int, state: State, *, seed: int = 0, **sampling: Any
    ) -> Iterator[tuple[Choice, Floats, Floats]]:
        """Feed tokens, at least one, then what is chosen; yield each choice with its logits and its state."""
        given = list(fed)
        for i in range(len(fed) + count - 1):
            output, state = self.step(given[i], state)
            if i >= len(fed) - 1:
                choice = choose(output, uniform(seed, i + 1), **sampling)
                given.append(choice.token)
                yield choice, output, self.flatten(state)

    def condition(self, given: str | Sequence[float]) -> Floats:
        """Return the numbers of a condition, f32[C]: of a label, or as they are."""
        port = self.manifest.condition.port
        if port.modality != MODALITY_LABEL:
            return np.array(given, np.float32)
        numbers: Floats = np.zeros(port.width, np.float32)
        numbers[list(port.names).index(str(given))] = 1
        return numbers


class Shapes:
    """The small bundles of every shape, each made when it is first asked for.

    Args:
        home: the folder that they are made in.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._bundles: dict[str, Bundle] = {}
        self._references: dict[str, Reference] = {}

    def bundle(self, kind: str) -> Bundle:
        """Return a kind's bundle, ready to be served."""
        if kind not in self._bundles:
            self._bundles[kind] = load_bundle(self.folder(kind))
        return self._bundles[kind]

    def reference(self, kind: str) -> Reference:
        """Return what a kind must answer."""
        if kind not in self._references:
            self._references[kind] = Reference(self.folder(kind))
        return self._references[kind]

    def folder(self, kind: str) -> Path:
        """Return the folder of a kind's bundle."""
        folder = self._home / kind
        return folder if folder.exists() else make_shape(kind, folder)


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Return natural logarithms of the probabilities, f64[V]."""
    shifted = logits.astype(np.float64) - logits.max()
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return logs


def check_close(given: Any, wanted: Any, *, within: float = 1e-5) -> None:
    """Fail unless numbers are as many as are wanted, and each is so close, or so close in proportion."""
    np.testing.assert_allclose(np.asarray(given), np.asarray(wanted), atol=within, rtol=within)

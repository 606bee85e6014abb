"""How well a bundle does on its held-out items: one figure, of the kind that its shape asks for. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.bundle_pb2 import (
    MODALITY_LABEL,
    TASK_CLASSIFY,
    TASK_GENERATE,
    TASK_TAG,
    TASK_TRANSDUCE,
    Example,
    Examples,
    Figure,
)
from unrolled_export.player import Feed, Player, to_array, to_row, to_source
from unrolled_export.shape import modality

Grade = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
"""Compares what was given with what was wanted; the figure is the mean over all of what it returns."""


def grade(player: Player, examples: Examples) -> Figure:
    """Measure a bundle on `examples`, at least one.

    Returns:
        `accuracy` of labels, `exact` share of token sequences, `squared_error` of vectors that answer inputs, or
        `absolute_error` of vectors that the bundle writes by itself.
    """
    name, compare = _choose(player)
    grades = [compare(_answer(player, example), to_array(example.wanted)[:, 0]) for example in examples.examples]
    every = np.concatenate(grades)
    return Figure(name=name, value=float(every.mean()), count=len(every))


def _choose(player: Player) -> tuple[str, Grade]:
    if player.manifest.task in {TASK_GENERATE, TASK_TRANSDUCE}:
        return ("exact", _are_equal) if player.is_token else ("absolute_error", _absolute)
    if modality(player.manifest.output) == MODALITY_LABEL:
        return "accuracy", _is_likeliest
    return "squared_error", _squared


def _answer(player: Player, example: Example) -> NDArray[Any]:
    condition, source = to_row(example.condition), to_source(example.source)
    if player.manifest.task in {TASK_CLASSIFY, TASK_TAG}:
        outputs = player.read(Feed(to_array(example.inputs), condition, source))[:, 0]
        return outputs[-1:] if player.manifest.task == TASK_CLASSIFY else outputs
    return player.write(condition, source)


def _are_equal(given: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([np.array_equal(given, wanted)], np.float64)


def _is_likeliest(given: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    right: NDArray[np.float64] = (given.argmax(axis=1) == wanted).astype(np.float64)
    return right


def _absolute(given: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.abs(given - wanted).mean(axis=1, dtype=np.float64)
    return errors


def _squared(given: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = ((given - wanted) ** 2).mean(axis=1, dtype=np.float64)
    return errors

"""Golden runs of every shape but plain generation: recorded from held-out items, repeated anywhere. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.v1.bundle_pb2 import TASK_GENERATE, TASK_TRANSDUCE, Example, Golden, Run, Vector
from unrolled_export.errors import BundleError
from unrolled_export.player import Feed, Player, to_array, to_row, to_series, to_source
from unrolled_export.reference import Floats

COUNT = 4
LONGEST = 256
TOLERANCE = 1e-3
MARGIN = 1e-3


def record_runs(player: Player, examples: Sequence[Example]) -> Golden:
    """Record what the bundle does with the first four items whose greedy choices are all clear.

    A choice is clear that is 1e-3 ahead of the runner-up; where too few are, the first items are taken and only
    their outputs are compared. `examples` has at least one; of its inputs the first 256 steps are fed.
    """
    runs = [_record(player, example) for example in examples[: 8 * COUNT]]
    clear = [run for run in runs if not _is_fed_back(player) or _margin(run) >= MARGIN]
    return Golden(runs=(clear or runs)[:COUNT], margin=MARGIN if clear else 0.0, tolerance=TOLERANCE)


def check_runs(player: Player, golden: Golden) -> str:
    """Repeat the recorded runs.

    Raises:
        BundleError: an output differs by more than the tolerance, or a choice by any means.
    """
    largest = 0.0
    for index, run in enumerate(golden.runs):
        given, wanted = player.read(_feed(run))[:, 0], _outputs(run)
        if given.shape != wanted.shape:
            raise BundleError(f"run {index}: outputs are {list(given.shape)}, recorded are {list(wanted.shape)}")
        difference = float(np.abs(given - wanted).max())
        if not difference <= golden.tolerance:
            raise BundleError(f"run {index}: largest difference {difference:.3g}, allowed {golden.tolerance:g}")
        if golden.margin and _is_fed_back(player):
            _check_choices(index, run, given)
        largest = max(largest, difference)
    return f"{len(golden.runs)} runs, largest difference {largest:.3g}, allowed {golden.tolerance:g}"


def _record(player: Player, example: Example) -> Run:
    run = Run(condition=example.condition, source=example.source)
    if player.manifest.task in {TASK_GENERATE, TASK_TRANSDUCE}:
        written = player.write(to_row(example.condition), to_source(example.source))
        fed = np.concatenate([player.start(), written])
        # What was written last is fed only if an end token was chosen after it.
        is_ended = player.is_token and len(written) < player.manifest.feedback.length
        run.inputs.CopyFrom(to_series(fed if is_ended else fed[:-1]))
    else:
        run.inputs.CopyFrom(to_series(to_array(example.inputs)[:LONGEST, 0]))
    run.outputs.extend(Vector(values=row.tolist()) for row in player.read(_feed(run))[:, 0])
    return run


def _feed(run: Run) -> Feed:
    return Feed(to_array(run.inputs), to_row(run.condition), to_source(run.source))


def _outputs(run: Run) -> Floats:
    return np.array([list(vector.values) for vector in run.outputs], np.float32)


def _is_fed_back(player: Player) -> bool:
    return player.is_token and player.manifest.task in {TASK_GENERATE, TASK_TRANSDUCE}


def _margin(run: Run) -> float:
    two = np.partition(_outputs(run), -2, axis=1)[:, -2:]
    return float((two[:, 1] - two[:, 0]).min())


def _check_choices(index: int, run: Run, outputs: Floats) -> None:
    chosen = outputs.argmax(axis=1)
    for step, token in enumerate(run.inputs.tokens[1:]):
        if chosen[step] != token:
            raise BundleError(f"run {index}, step {step}: expected token {token}, got {chosen[step]}")

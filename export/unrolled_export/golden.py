"""The golden run: a recorded generation that rounding cannot change. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product

import numpy as np

from unrolled.v1.bundle_pb2 import Golden
from unrolled_export.reference import Choice
from unrolled_export.replay import GREEDY, Cell, Drawing, generate

COUNT = 200
CANDIDATES = 64
GOOD_MARGIN = 5e-5
LEAST_MARGIN = 1e-5
TOLERANCE = 1e-3


def record_golden(cell: Cell, prompts: Sequence[Sequence[int]]) -> Golden:
    """Look through seeds and `prompts`, each of at least one token, for a run whose choices are all clear.

    The first of up to 64 candidates in which every sampled choice and every greedy choice keeps 5e-5 from its
    border is taken, otherwise the best one; if even that is below 1e-5, half its distance is recorded.
    """
    greedy: dict[int, list[Choice]] = {}
    best: tuple[float, int, int, list[Choice]] | None = None
    for seed, place in islice(product(range(1, CANDIDATES + 1), range(len(prompts))), CANDIDATES):
        if place not in greedy:
            greedy[place] = list(generate(cell, prompts[place], COUNT, GREEDY))
        sampled = list(generate(cell, prompts[place], COUNT, Drawing(seed)))
        margin = min(choice.margin for choice in [*greedy[place], *sampled])
        if best is None or margin > best[0]:
            best = margin, seed, place, sampled
        if margin >= GOOD_MARGIN:
            break
    if best is None:
        raise ValueError("prompts is empty")
    margin, seed, place, sampled = best
    prompt = prompts[place]
    logits = cell.read(np.array(prompt, np.int64)[:, None])[-1, 0]
    return Golden(
        prompt=prompt,
        seed=seed,
        greedy=[choice.token for choice in greedy[place]],
        sampled=[choice.token for choice in sampled],
        margin=_recorded(margin),
        logits=logits.tolist(),
        tolerance=TOLERANCE,
    )


def _recorded(margin: float) -> float:
    for step in (GOOD_MARGIN, LEAST_MARGIN):
        if margin >= step:
            return step
    return margin / 2

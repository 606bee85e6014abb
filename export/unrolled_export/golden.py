"""The golden run: a recorded generation that rounding cannot change. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise, product

import numpy as np

from unrolled.v1.bundle_pb2 import Golden
from unrolled_export.reference import Choice, choose, uniform
from unrolled_export.replay import GREEDY, Cell, Drawing, generate

COUNT = 200
CANDIDATES = 64
GOOD_MARGIN = 5e-5
LEAST_MARGIN = 1e-5
TOLERANCE = 1e-3
# A cell that rounds its states turns a last bit of tanh, which differs between processors, into a whole
# quantum now and then: logits of a trained LSTM 2x448 moved by up to 0.04.
ROUNDED_TOLERANCE = 0.1
SHAKEN_ROWS = 8
SHAKING = 1e-6


def record_golden(cell: Cell, prompts: Sequence[Sequence[int]], *, rounds: bool = False) -> Golden:
    """Look through seeds and `prompts`, each of at least one token, for a run whose choices are all clear.

    The first of up to 64 candidates in which every sampled choice and every greedy choice keeps 5e-5 from its
    border is taken, otherwise the best one; if even that is below 1e-5, half its distance is recorded. Where
    the cell rounds its states, the candidate must also withstand states that are shaken by 1e-6 of their size
    after every step, and the logits' tolerance is wider.
    """
    greedy: dict[int, list[Choice]] = {}
    best: tuple[tuple[bool, float], int, int, list[Choice]] | None = None
    for seed, place in islice(product(range(1, CANDIDATES + 1), range(len(prompts))), CANDIDATES):
        prompt = prompts[place]
        if place not in greedy:
            greedy[place] = list(generate(cell, prompt, COUNT, GREEDY))
        sampled = list(generate(cell, prompt, COUNT, Drawing(seed)))
        margin = min(choice.margin for choice in [*greedy[place], *sampled])
        is_good = margin >= GOOD_MARGIN
        if is_good and rounds:
            runs = ((greedy[place], GREEDY), (sampled, Drawing(seed)))
            is_good = all(_withstands(cell, prompt, choices, drawing) for choices, drawing in runs)
        if best is None or (is_good, margin) > best[0]:
            best = (is_good, margin), seed, place, sampled
        if is_good:
            break
    if best is None:
        raise ValueError("prompts is empty")
    (_, margin), seed, place, sampled = best
    prompt = prompts[place]
    logits = cell.read(np.array(prompt, np.int64)[:, None])[-1, 0]
    return Golden(
        prompt=prompt,
        seed=seed,
        greedy=[choice.token for choice in greedy[place]],
        sampled=[choice.token for choice in sampled],
        margin=_recorded(margin),
        logits=logits.tolist(),
        tolerance=ROUNDED_TOLERANCE if rounds else TOLERANCE,
    )


def _withstands(cell: Cell, prompt: Sequence[int], choices: Sequence[Choice], drawing: Drawing) -> bool:
    """Tell whether rows with shaken states would have made the same choices."""
    generator = np.random.default_rng(0)
    history = [*prompt, *(choice.token for choice in choices)]
    state = cell.zero_state(SHAKEN_ROWS)
    for position, (token, wanted) in enumerate(pairwise(history), start=1):
        logits, state = cell.step(np.full(SHAKEN_ROWS, token, np.int64), state)
        if position >= len(prompt):
            drawn = uniform(drawing.seed, position)
            if any(choose(row, drawn, drawing.temperature).token != wanted for row in logits):
                return False
        for name, values in state.items():
            state[name] = values * (1 + generator.uniform(-SHAKING, SHAKING, values.shape)).astype(np.float32)
    return True


def _recorded(margin: float) -> float:
    for step in (GOOD_MARGIN, LEAST_MARGIN):
        if margin >= step:
            return step
    return margin / 2

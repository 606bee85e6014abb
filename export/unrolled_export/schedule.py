"""The learning rate over a run."""

from __future__ import annotations

import math

FLOOR = 0.02
WARM_UP_SHARE = 0.05
LONGEST_WARM_UP = 200


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Give the rate of update `step` (from 0) out of `steps`.

    It rises linearly to `peak` and then falls along a cosine to 2 % of it: Loshchilov & Hutter 2017
    (arXiv:1608.03983) without restarts.
    """
    warm_up = max(1, min(LONGEST_WARM_UP, int(steps * WARM_UP_SHARE)))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))

"""What the alphabet cell says, worked out on paper: plain Python, a token at a time, from the whole history.

A history is a list of tokens in which V is added to those that were generated.
"""

import math
from collections.abc import Sequence

from tests.support.alphabet import plain_uniform
from unrolled_service.graphs.sampling import Sampling

_CLEARANCE = 1e-6


def continue_history(
    history: Sequence[int], length: int, seed: int, *, size: int, sharpness: float, sampling: Sampling
) -> list[int]:
    """Return the tokens that follow a history: penalties and bias apply, temperatures are 0 or 1, nothing is cut off.

    Args:
        history: at least one token.
        length: how many follow.
        seed: of the draws.
        size: V.
        sharpness: of the cell.
        sampling: parameters that float32 holds exactly, so that rounding decides nothing.
    """
    times = [history.count(token) for token in range(2 * size)]
    token, said = history[-1] % size, []
    for steps in range(len(history), len(history) + length):
        logits = [0.0] * size
        logits[(token + steps) % size] = sharpness
        for other, bias in sampling.logit_bias:
            logits[other] += bias
        for other in range(size) if sampling.penalizes else ():
            generated = times[size + other]
            if generated or times[other]:
                penalty = sampling.repetition_penalty
                logits[other] = logits[other] / penalty if logits[other] > 0 else logits[other] * penalty
            logits[other] -= sampling.frequency_penalty * generated + sampling.presence_penalty * (generated > 0)
        token = _draw(logits, plain_uniform(seed, steps)) if sampling.temperature else logits.index(max(logits))
        times[size + token] += 1
        said.append(token)
    return said


def find_stop(text: str, stops: Sequence[str]) -> tuple[str, str]:
    """Return what is shown of a text, and the stop text that ends it, if one does."""
    for end in range(1, len(text) + 1):
        if met := [stop for stop in stops if text[:end].endswith(stop)]:
            stop = max(met, key=len)
            return text[: end - len(stop)], stop
    return text, ""


def is_clear(seed: int, positions: int, *, size: int, sharpness: float) -> bool:
    """Return whether no draw of a seed is so near to a boundary between two tokens that rounding might decide it."""
    total = size - 1 + math.exp(sharpness)
    bounds = [i / total for i in range(size)] + [(i + math.exp(sharpness)) / total for i in range(size)]
    draws = [plain_uniform(seed, position) for position in range(positions)]
    return all(abs(draw - bound) > _CLEARANCE for draw in draws for bound in bounds)


def _draw(logits: Sequence[float], uniform: float) -> int:
    masses = [math.exp(logit) for logit in logits]
    left = uniform * sum(masses)
    for token, mass in enumerate(masses):
        left -= mass
        if left < 0:
            return token
    return len(masses) - 1

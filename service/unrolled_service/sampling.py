"""How a token is drawn: the caller's parameters, and randomness without state.

The parameters are applied inside the program (see ``graph``); here stand their values and the one
source of randomness: a uniform number that is a function of seed and position alone.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen from logits; the defaults change nothing.

    Attributes:
        temperature: divides the logits, 0.01 to 100; 0 takes the most probable token.
        top_k: keeps this many most probable tokens; 0 keeps all.
        top_p: keeps the fewest most probable tokens that add up to this, in (0, 1].
        min_p: keeps tokens at least this times as probable as the most probable, in [0, 1].
        repetition_penalty: divides positive and multiplies negative logits of tokens fed or generated before.
        presence_penalty: subtracted from the logits of tokens generated before, -2 to 2.
        frequency_penalty: subtracted from a token's logit for each time it was generated, -2 to 2.
        logit_bias: pairs of a token and what is added to its logit.
        numbers: derived once, as every slice asks: temperature, top_p, min_p and the three penalties.
        truncates: derived: any token can be cut off.
        penalizes: derived: the choice depends on what was fed and generated before.
        adjusts: derived: the logits are changed before the temperature.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    numbers: tuple[float, ...] = field(init=False, repr=False, compare=False)
    truncates: bool = field(init=False, repr=False, compare=False)
    penalizes: bool = field(init=False, repr=False, compare=False)
    adjusts: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        penalizes = penalties != (1.0, 0.0, 0.0)
        is_cut = self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0
        for name, value in (
            ("numbers", (self.temperature, self.top_p, self.min_p, *penalties)),
            ("truncates", self.temperature > 0 and is_cut),
            ("penalizes", penalizes),
            ("adjusts", penalizes or bool(self.logit_bias)),
        ):
            object.__setattr__(self, name, value)


def uniform(seeds: NDArray[np.uint64], positions: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return a float32 in ``[0, 1)`` for every pair of seed and position; the arguments broadcast.

    ``position`` is the number of tokens before the one that is drawn. Two applications of the
    SplitMix64 finaliser (Steele, Lea & Flood, OOPSLA 2014) hash the pair; the top 24 bits, which
    float32 holds exactly, are the number.
    """
    with np.errstate(over="ignore"):
        bits = _mix(_mix(seeds + _GAMMA) + positions * _GAMMA)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

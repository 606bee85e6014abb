"""How a token is chosen: the caller's parameters. They are applied inside the program (see ``graph``)."""

from dataclasses import dataclass, field


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
        numbers: derived once, as every slice asks: top_p, min_p and the three penalties.
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
            ("numbers", (self.top_p, self.min_p, *penalties)),
            ("truncates", self.temperature > 0 and is_cut),
            ("penalizes", penalizes),
            ("adjusts", penalizes or bool(self.logit_bias)),
        ):
            object.__setattr__(self, name, value)

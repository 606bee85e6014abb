"""One Score call being served: a text is fed token by token, and each next one's log-probability added up.

Runs on the engine's thread.
"""

import math
from dataclasses import dataclass

from unrolled_service.delivery import Delivery, Described, Sink
from unrolled_service.program import Tokens
from unrolled_service.row import Row
from unrolled_service.sampling import Sampling
from unrolled_service.slice import Slice


@dataclass(frozen=True, slots=True)
class Scoring:
    """A checked request.

    Attributes:
        text: int64[T], at least two tokens.
        logprobs: how many of the most probable tokens to describe beside each actual one.
        per_token: whether to describe every token.
    """

    text: Tokens
    logprobs: int = 0
    per_token: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """The result.

    Attributes:
        logprob: sum of natural logarithms.
        tokens: the predicted tokens' number: T - 1.
        described: one entry a predicted token, if asked for.
    """

    logprob: float
    tokens: int
    described: list[Described]


class ScoreRow(Row):
    """The progress of one scoring.

    Args:
        scoring: the checked request.
        sink: where the result goes.
        lane, arrived: as in ``Row``.
    """

    def __init__(self, scoring: Scoring, sink: Sink, *, lane: str, arrived: float) -> None:
        super().__init__(
            sink,
            lane=lane,
            session=None,
            sampling=Sampling(temperature=0.0),
            seed=0,
            forced=scoring.text[:-1],
            arrived=arrived,
        )
        self._scoring = scoring
        self._logprob = 0.0
        self._described: list[Described] = []

    @property
    def steps_left(self) -> int:
        """Steps until the last token is predicted."""
        return len(self.forced)

    @property
    def described(self) -> int:
        """How many of the most probable tokens each step describes; at least 1, so that it describes at all."""
        return max(self._scoring.logprobs, 1)

    def targets(self, steps: int) -> Tokens:
        """Return the tokens that follow the next steps' inputs."""
        return self._scoring.text[self.consumed + 1 : self.consumed + 1 + steps]

    def take(self, done: Slice, i: int) -> Delivery | None:
        """Add up the log-probabilities, one for each token fed; return the result once the text is fed."""
        end = min(done.steps, self.step(done.steps))
        done.prompt_tokens += end
        described = done.describe(i, 0, end, self._scoring.logprobs)
        self._logprob += math.fsum(each.chosen for each in described)
        if self._scoring.per_token:
            self._described += described
        if len(self.forced):
            return None
        self.is_finished = True
        result = Score(self._logprob, len(self._scoring.text) - 1, self._described)
        return Delivery(self.sink, "", self.sent, finish=result)

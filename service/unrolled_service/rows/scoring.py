"""One Score call being served: a text is fed token by token, and each next one's log-probability added up.

Runs on the engine's thread.
"""

import math
from dataclasses import dataclass, field

from unrolled_service.graphs.program import Tokens
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Delivery, Described, Sink
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.text_row import NOTHING, TextRow


@dataclass(frozen=True, slots=True)
class Scoring:
    """A checked request.

    Attributes:
        text: int64[T], at least two tokens.
        logprobs: how many of the most probable tokens to describe beside each actual one.
        per_token: whether to describe every token.
        traced: int64[N], places of the state to report with every token.
        condition: f32[C], what sets the first state; None for the zero state.
    """

    text: Tokens
    logprobs: int = 0
    per_token: bool = False
    traced: Tokens = field(default_factory=lambda: NOTHING)
    condition: Floats | None = None


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


class ScoreRow(TextRow):
    """The progress of one scoring.

    Args:
        scoring: the checked request.
        sink: where the result goes.
        lane, arrived: as in ``TextRow``.
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
            described=max(scoring.logprobs, 1),  # 0 would describe nothing
            traced=scoring.traced,
        )
        self._scoring = scoring
        self._logprob = 0.0
        self._described: list[Described] = []

    @property
    def steps_left(self) -> int:
        """Steps until the last token is predicted."""
        return len(self.forced)

    def targets(self, steps: int) -> Tokens:
        """Return the tokens that follow the next steps' inputs."""
        return self._scoring.text[self.consumed + 1 : self.consumed + 1 + steps]

    def take(self, samples: Samples, i: int, record: Slice) -> None:
        """Add up the log-probabilities, one for each token fed."""
        end = min(samples.steps, len(self.forced))
        self.forced = self.forced[end:]
        self.consumed += samples.steps
        record.prompt_tokens += end
        described = samples.describe(i, 0, end, count=self._scoring.logprobs, traced=self.traced)
        self._logprob += math.fsum(each.chosen for each in described)
        if self._scoring.per_token:
            self._described += described
        self.is_finished = not len(self.forced)

    def tell(self, now: float) -> Delivery | None:
        """Return the result once the text is fed."""
        del now
        if not self.is_finished:
            return None
        score = Score(self._logprob, len(self._scoring.text) - 1, self._described)
        return Delivery(self.sink, "", self.sent, finish=score)

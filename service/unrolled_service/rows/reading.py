"""Calls that are fed by their callers as they go: Step answers every input, Classify the last one.

Runs on the engine's thread.
"""

from dataclasses import dataclass, field

import numpy as np

from unrolled_service.graphs.program import Tokens
from unrolled_service.rows.delivery import Answer, Delivery, Sink
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.sequence_row import Inputs, Part, SequenceRow, with_pending
from unrolled_service.rows.slice import Slice
from unrolled_service.rows.text_row import NOTHING
from unrolled_service.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Reading:
    """A checked request.

    Attributes:
        inputs: int64[N] or f32[N, F], what is read first; may be none.
        is_stepwise: every input is answered; otherwise the last one is.
        session_id: the session to continue; None for a throw-away state.
        expected_position: position the session must have; None for any.
        traced: int64[N], places of the state to report with every output.
    """

    inputs: Inputs
    is_stepwise: bool
    session_id: str | None = None
    expected_position: int | None = None
    traced: Tokens = field(default_factory=lambda: NOTHING)


class ReadingRow(SequenceRow):
    """The progress of one reading.

    Its caller feeds it until ``end``. Whenever it has nothing left to feed it says so, by news that may be
    empty: whoever feeds it waits for that.

    Args:
        reading: the checked request.
        sink: where the answers go.
        lane, session, arrived: as in ``Row``.
    """

    def __init__(self, reading: Reading, sink: Sink, *, lane: str, session: Session | None, arrived: float) -> None:
        inputs = reading.inputs
        super().__init__(
            sink,
            lane=lane,
            session=session,
            forced=with_pending(session, inputs),
            arrived=arrived,
            last=np.empty(0, np.float32),
            traced=reading.traced,
        )
        self._is_stepwise = reading.is_stepwise
        self._unanswered = len(self.forced) - len(inputs)  # inputs that an earlier call answered
        self._answers: list[Answer] = []
        self._read = 0
        self._is_ended = self._is_told = False
        self._reason = FinishReason.END
        self._note(inputs)

    @property
    def steps_left(self) -> int:
        """Steps until everything is read that is there."""
        return len(self.forced)

    @property
    def unread(self) -> int:
        """Answers handed to the sink that have not left for the caller."""
        return self.sent - self.sink.delivered if self._is_stepwise else 0

    @property
    def is_starved(self) -> bool:
        """Whether it waits for inputs of its caller."""
        return not (len(self.forced) or self.is_finished)

    @property
    def is_over(self) -> bool:
        """Whether its caller was told that it is finished: it may be so with nothing left to deliver."""
        return self._is_told and super().is_over

    def feed(self, inputs: Inputs) -> None:
        """Take further inputs."""
        self.forced = np.concatenate([self.forced, inputs])
        self._note(inputs)

    def end(self, *, is_refused: bool = False) -> None:
        """Take no more inputs: there are none, or the next ones were refused."""
        self._is_ended = True
        self._reason = FinishReason.ERROR if is_refused else FinishReason.END
        self.is_finished = not len(self.forced)

    def take(self, part: Part, record: Slice) -> None:
        """Keep the answers that are wanted."""
        steps, skipped = len(part.outputs), min(self._unanswered, len(part.outputs))
        self._advance(steps)
        self._unanswered -= skipped
        self._read += steps - skipped
        record.prompt_tokens += steps - skipped
        if self._is_stepwise:
            self._answers += part.answers(skipped)
        elif steps > skipped:
            self._answers = part.answers(steps - 1)
        if self.first_token_at is None and self._answers:
            self.first_token_at = part.ended_at
        self.is_finished = self._is_ended and not len(self.forced)

    def tell(self, now: float) -> Delivery | None:
        """Return the answers, or that there is nothing left to feed."""
        if not (self.is_finished or self.is_starved or (self._is_stepwise and self._answers)):
            return None
        answers: list[Answer] = []
        if self._is_stepwise or self.is_finished:
            answers, self._answers = self._answers, []
        self.sent, self._is_told = self.start + self._read, self.is_finished
        finish = self.finish(self._reason, now, fed=self._read, given=0) if self.is_finished else None
        return Delivery(self.sink, "", self.sent, answers, finish)

    def can_advance_session(self, position: int) -> bool:
        """Return whether the state at a position may become the session's: it needs no input that it has not taken."""
        return self.session is not None and self.session.consumed < position <= self.sink.delivered

    def _note(self, inputs: Inputs) -> None:
        if self.trail:
            self.trail.add(inputs)

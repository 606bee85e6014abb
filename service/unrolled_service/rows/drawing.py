"""One call that generates vectors: each is fed back as it is.

Runs on the engine's thread.
"""

import numpy as np

from unrolled_service.rows.delivery import Answer, Delivery, Sink
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.sequence_row import Inputs, Part, SequenceRow, with_pending
from unrolled_service.rows.slice import Slice
from unrolled_service.sessions.session import Session


class Drawing(SequenceRow):
    """The progress of one generation of vectors.

    Args:
        generation: the checked request.
        fed: f32[P, F], its prompt, behind the bundle's start where it begins here.
        sink: where the vectors go.
        source_inputs: how many inputs an encoder reads before.
        lane, session, arrived: as in ``Row``.
    """

    def __init__(
        self,
        generation: Generation,
        fed: Inputs,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        arrived: float,
        source_inputs: int = 0,
    ) -> None:
        super().__init__(
            sink,
            lane=lane,
            session=session,
            forced=with_pending(session, fed),
            arrived=arrived,
            last=np.zeros(fed.shape[1], np.float32),
            traced=generation.traced,
            is_hurried=generation.max_chunk_tokens > 0,
        )
        self._fed = len(fed)
        self._source_inputs = source_inputs
        self._prompt_end = self.sent + len(fed)
        self._left = generation.max_tokens
        self._answers: list[Answer] = []
        self._shown = 0
        if self.trail:
            self.trail.add(fed)

    @property
    def steps_left(self) -> int:
        """Steps until the last vector that was asked for."""
        return max(len(self.forced) - 1, 0) + self._left

    @property
    def unread(self) -> int:
        """Vectors handed to the sink that have not left for the caller."""
        return self.sent - max(self.sink.delivered, self._prompt_end) if self._shown else 0

    def take(self, part: Part, record: Slice) -> None:
        """Append the vectors that follow the prompt."""
        steps, waiting = len(part.outputs), len(self.forced)
        unfed = max(self.consumed, self._prompt_end - self._fed)
        self._advance(steps)
        record.prompt_tokens += max(0, min(self.consumed, self._prompt_end) - unfed)
        first = max(waiting - 1, 0)
        if first >= steps:
            return
        count = steps - first
        self._answers += part.answers(first)
        if self.trail:
            self.trail.add(part.outputs[first:])
        self.note_outputs(count, part.ended_at, part.step_s, record)
        record.generated_tokens += count
        self._left -= count
        self.is_finished = not self._left

    def tell(self, now: float) -> Delivery | None:
        """Return the vectors since the last news, and the finish once they are complete."""
        if not self._answers:
            return None
        answers, self._answers = self._answers, []
        self._shown += len(answers)
        self.sent = self._prompt_end + self._shown
        fed = self._source_inputs + self._fed
        finish = self.finish(FinishReason.LENGTH, now, fed=fed, given=self._shown) if self.is_finished else None
        return Delivery(self.sink, "", self.sent, answers, finish)

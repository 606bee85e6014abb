"""One Generate call being served: what it asked for and how far it is.

A stream's state is its own while it runs. Its session, if it has one, keeps the last state that the caller
was shown, and follows as text is delivered; so a stream that breaks off leaves nothing to undo. Runs
on the engine's thread.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from unrolled_service.delivery import Delivery, Described, Sink
from unrolled_service.program import Tokens
from unrolled_service.row import Row
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session
from unrolled_service.slice import Slice
from unrolled_service.stops import StopMatcher


class FinishReason(Enum):
    """Why a generation ended; the names are those of the wire contract."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request.

    Attributes:
        prompt: int64[P], tokens to feed first.
        max_tokens: how many to generate, at least 1.
        sampling: how to choose them.
        stops: texts that end it.
        seed: seed of the draws; None takes the session's.
        session_id: the session to continue; None for a throw-away state.
        expected_position: position the session must have; None for any.
        logprobs: how many of the most probable tokens to describe beside each chosen one; 0 describes nothing.
        resumed_tokens: how many tokens at the end of the prompt a broken call had generated.
        max_chunk_tokens: most tokens that a message carries; 0 for no limit.
    """

    prompt: Tokens
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    seed: int | None = None
    session_id: str | None = None
    expected_position: int | None = None
    logprobs: int = 0
    resumed_tokens: int = 0
    max_chunk_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a generation; durations in seconds from its arrival."""

    reason: FinishReason
    stop: str
    prompt_tokens: int
    generated_tokens: int
    seed: int
    start_position: int
    position: int
    queue_s: float
    first_token_s: float
    total_s: float


class Stream(Row):
    """The progress of one generation.

    Args:
        generation: the checked request.
        sink: where its text goes.
        vocabulary_size: V, the offset that marks generated tokens among forced ones.
        lane, session, seed, arrived: as in ``Row``.
    """

    def __init__(
        self,
        generation: Generation,
        sink: Sink,
        *,
        lane: str,
        vocabulary_size: int,
        session: Session | None,
        seed: int,
        arrived: float,
    ) -> None:
        prompt = generation.prompt.copy()
        prompt[len(prompt) - generation.resumed_tokens :] += vocabulary_size
        pending = np.array(session.pending if session else [], np.int64)
        super().__init__(
            sink,
            lane=lane,
            session=session,
            sampling=generation.sampling,
            seed=seed,
            forced=np.concatenate([pending, prompt]),
            arrived=arrived,
        )
        self.generation = generation
        self.start = self.sent
        self.prompt_end = self.sent + len(prompt)
        self.sampled = 0
        self.shown = 0
        self._vocabulary_size = vocabulary_size
        self._stops = StopMatcher(generation.stops) if generation.stops else None
        self._log = prompt.tolist() if session else []  # the tokens that the session's history lacks
        self._described: list[Described] = []
        self._untold = ""
        self._told_at = -math.inf
        if generation.sampling.penalizes:
            counts = session.history.counts(session.consumed) if session else np.zeros(2 * vocabulary_size)
            self.counts = counts.astype(np.float32)

    @property
    def steps_left(self) -> int:
        """Steps until the last token that was asked for."""
        return max(len(self.forced) - 1, 0) + self.generation.max_tokens - self.sampled

    @property
    def patience(self) -> int:
        """Steps after which its caller wants news; 0 for no matter."""
        return self.generation.max_chunk_tokens

    @property
    def unread(self) -> int:
        """Characters handed to the sink that have not left for the caller."""
        return self.sent - max(self.sink.delivered, self.prompt_end) if self.shown else 0

    @property
    def described(self) -> int:
        """How many of the most probable tokens each step describes beside its own."""
        return self.generation.logprobs

    def take(self, done: Slice, i: int) -> Delivery | None:
        """Append the samples that continue the text; return what may be shown of it, if it is time for news.

        Samples before the prompt's end and past the budget do not count.
        """
        consumed, steps = self.consumed, done.steps
        first = 0
        if forced := self.step(steps):
            prompt_start = self.prompt_end - len(self.generation.prompt)
            done.prompt_tokens += max(0, min(self.consumed, self.prompt_end) - max(consumed, prompt_start))
            first = forced - 1
        end = min(steps, first + self.generation.max_tokens - self.sampled)
        if end <= first:
            return None
        now = done.ended_at
        done.note_tokens(end - first, self.last_tokens_at, self.arrived)
        is_first, self.last_tokens_at = self.last_tokens_at is None, now
        if is_first:
            self.first_token_at = now
        if self.session:
            self._log += [token + self._vocabulary_size for token in done.columns[i][first:end]]
        if self.generation.logprobs:
            self._described += done.describe(i, first, end, self.generation.logprobs)
        self.sampled += end - first
        text, match = done.text_of(i, first, end), None
        is_last = self.sampled == self.generation.max_tokens
        if self._stops is not None:
            text, match = self._stops.feed(text)
            if match:
                is_last = True
            elif is_last:
                text += self._stops.flush()
        self._untold += text
        if is_last:
            return self._tell(now, self._end(match.stop if match else None, now))
        gathered = len(self._untold)
        if gathered and (is_first or self.patience or gathered >= done.bulk or now - self._told_at >= done.pause_s):
            return self._tell(now)
        return None

    def _tell(self, now: float, finish: Finish | None = None) -> Delivery:
        text, self._untold, self._told_at = self._untold, "", now
        self.shown += len(text)
        self.sent = self.prompt_end + self.shown
        described, self._described = self._described[: len(text)], self._described[len(text) :]
        return Delivery(self.sink, text, self.sent, described, finish)

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position.

        Its state is the newest one that it was given; the tokens between the two are fed again by the
        next call.
        """
        self._extend_history(self.sink.delivered)

    def can_advance_session(self) -> bool:
        """Return whether its state may become the session's.

        It may when the caller was shown every token it has taken and one more, which a later call
        needs as its first input.
        """
        return self.session is not None and self.session.consumed < self.consumed < self.sink.delivered

    def advance_session(self) -> None:
        """Note that the session now holds its state."""
        if self.session:
            self._extend_history(self.consumed)
            self.session.consumed = self.consumed

    def _extend_history(self, position: int) -> None:
        if self.session:
            missing = max(0, position - self.session.history.end)
            self.session.history.extend(self._log[:missing])
            del self._log[:missing]

    def _end(self, stop: str | None, now: float) -> Finish:
        self.is_finished = True
        generated = self.shown + len(self._untold)
        return Finish(
            reason=FinishReason.LENGTH if stop is None else FinishReason.STOP,
            stop=stop or "",
            prompt_tokens=len(self.generation.prompt),
            generated_tokens=generated,
            seed=self.seed,
            start_position=self.start,
            position=self.prompt_end + generated,
            queue_s=(self.chosen_at or now) - self.arrived,
            first_token_s=(self.first_token_at or now) - self.arrived,
            total_s=now - self.arrived,
        )

"""One Generate call being served: what it asked for and how far it is.

A stream works on a slot of its own. Its session, if it has one, keeps the last state that the caller
was shown, and follows as text is delivered; so a stream that breaks off leaves nothing to undo. Runs
on the engine's thread.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from unrolled_service.program import Outcome
from unrolled_service.row import Delivery, Described, Row, Sink, Tokens, describe
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session
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
        lane, session, slot, seed, arrived: as in ``Row``.
    """

    def __init__(
        self,
        generation: Generation,
        sink: Sink,
        *,
        lane: str,
        vocabulary_size: int,
        session: Session | None,
        slot: int,
        seed: int,
        arrived: float,
    ) -> None:
        prompt = generation.prompt.copy()
        prompt[len(prompt) - generation.resumed_tokens :] += vocabulary_size
        pending = np.array(session.pending if session else [], np.int64)
        forced = np.concatenate([pending, prompt])
        super().__init__(
            sink,
            lane=lane,
            session=session,
            slot=slot,
            sampling=generation.sampling,
            seed=seed,
            forced=forced,
            arrived=arrived,
        )
        self.generation = generation
        self.prompt_end = self.sent + len(prompt)
        self.sampled = 0
        self.shown = 0
        self._vocabulary_size = vocabulary_size
        self._stops = StopMatcher(generation.stops)
        self._log = forced.tolist() if session else []
        self._described: list[Described] = []

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

    def prompt_tokens_within(self, steps: int) -> int:
        """Return how many of the next steps feed a token of the prompt."""
        prompt_start = self.prompt_end - len(self.generation.prompt)
        return max(0, min(self.consumed + steps, self.prompt_end) - max(self.consumed, prompt_start))

    def samples_within(self, steps: int) -> tuple[int, int]:
        """Return the steps whose samples continue the text: not before the prompt's end, not past the budget."""
        first = max(len(self.forced) - 1, 0)
        return first, min(steps, first + self.generation.max_tokens - self.sampled)

    def take(self, text: str, outcome: Outcome, i: int, first: int, end: int, now: float) -> Delivery | None:
        """Append the samples to the text; return what may be shown of it."""
        if self.session:
            self._log.extend((outcome.tokens[first:end, i] + self._vocabulary_size).tolist())
        if self.generation.logprobs:
            self._described += describe(outcome, i, first, end, self.generation.logprobs)
        self.sampled += end - first
        if self.first_token_at is None:
            self.first_token_at = now
        self.last_tokens_at = now
        shown, match = self._stops.feed(text)
        is_full = self.sampled == self.generation.max_tokens
        if is_full and not match:
            shown += self._stops.flush()
        is_last = is_full or match is not None
        if not (shown or is_last):
            return None
        self.shown += len(shown)
        self.sent = self.prompt_end + self.shown
        finish = self._end(match.stop if match else None, now) if is_last else None
        described, self._described = self._described[: len(shown)], self._described[len(shown) :]
        return Delivery(self.sink, shown, self.sent, described, finish)

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position.

        Its state is the newest one that it was given; the tokens between the two are fed again by the
        next call.
        """
        if self.session:
            self.session.pending = self._log[: self.sink.delivered - self.session.consumed]

    def can_advance_session(self) -> bool:
        """Return whether the state in ``slot`` may become the session's.

        It may when the caller was shown every token it has taken and one more, which a later call
        needs as its first input.
        """
        return self.session is not None and self.session.consumed < self.consumed < self.sink.delivered

    def advance_session(self) -> None:
        """Note that the session now holds the state in ``slot``."""
        if self.session:
            del self._log[: self.consumed - self.session.consumed]
            self.session.consumed = self.consumed

    def _end(self, stop: str | None, now: float) -> Finish:
        self.is_finished = True
        return Finish(
            reason=FinishReason.LENGTH if stop is None else FinishReason.STOP,
            stop=stop or "",
            prompt_tokens=len(self.generation.prompt),
            generated_tokens=self.shown,
            seed=self.seed,
            position=self.sent,
            queue_s=(self.chosen_at or now) - self.arrived,
            first_token_s=(self.first_token_at or now) - self.arrived,
            total_s=now - self.arrived,
        )

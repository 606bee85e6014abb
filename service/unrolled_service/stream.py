"""One Generate call being served: what it asked for and how far it is.

A stream works on a slot of its own. Its session, if it has one, keeps the last state that the caller
was shown, and follows as text is delivered; so a stream that breaks off leaves nothing to undo. Runs
on the engine's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
    """

    prompt: NDArray[np.int64]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    seed: int | None = None
    session_id: str | None = None
    expected_position: int | None = None


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


class Sink(Protocol):
    """Where a stream's text goes.

    ``delivered`` is the position of the last text that has left for the caller. The sink moves it
    forward, from any thread; the engine only reads it.
    """

    delivered: int


class Stream:
    """The progress of one generation.

    Attributes:
        lane: name of its bundle.
        slot: where its state is worked on.
        forced: int64 tokens still to be fed, oldest first.
        token: the last sample.
        consumed: tokens of the history that the state in ``slot`` has taken.
        sent: position of the last text handed to the sink.
        finish: set once nothing more will be computed.
    """

    def __init__(
        self,
        generation: Generation,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        slot: int,
        seed: int,
        arrived: float,
    ) -> None:
        pending = session.pending if session else []
        self.generation = generation
        self.sink = sink
        self.lane = lane
        self.session = session
        self.slot = slot
        self.seed = seed
        self.forced = np.concatenate([np.array(pending, np.int64), generation.prompt])
        self.token = 0
        self.consumed = session.consumed if session else 0
        self.sent = session.position if session else 0
        self.prompt_end = self.sent + len(generation.prompt)
        self.sampled = 0
        self.shown = 0
        self.finish: Finish | None = None
        self.is_closed = False
        self.arrived = arrived
        self.chosen_at: float | None = None
        self.first_token_at: float | None = None
        self.last_tokens_at: float | None = None
        self._stops = StopMatcher(generation.stops)
        self._log = [*pending, *generation.prompt.tolist()] if session else []
        sink.delivered = self.sent

    @property
    def steps_left(self) -> int:
        """Steps until the last token that was asked for."""
        return max(len(self.forced) - 1, 0) + self.generation.max_tokens - self.sampled

    @property
    def unread(self) -> int:
        """Characters handed to the sink that have not left for the caller."""
        return self.sent - max(self.sink.delivered, self.prompt_end) if self.shown else 0

    @property
    def is_over(self) -> bool:
        """Whether everything is computed and has left for the caller."""
        return self.finish is not None and self.sink.delivered >= self.sent

    def take(self, text: str, tokens: Sequence[int], now: float) -> str:
        """Take the samples that follow the history; return the text that may be shown now.

        Args:
            text: the samples as text, at least one, cut to the token budget.
            tokens: the same as tokens; may be empty where there is no session.
            now: the time.
        """
        if self.session:
            self._log.extend(tokens)
        self.sampled += len(text)
        if self.first_token_at is None:
            self.first_token_at = now
        self.last_tokens_at = now
        shown, match = self._stops.feed(text)
        if match:
            self._show(shown)
            self._end(FinishReason.STOP, match.stop, now)
        elif self.sampled == self.generation.max_tokens:
            shown += self._stops.flush()
            self._show(shown)
            self._end(FinishReason.LENGTH, "", now)
        else:
            self._show(shown)
        return shown

    def prompt_tokens_within(self, steps: int) -> int:
        """Return how many of the next steps feed a token of this call's prompt."""
        prompt_start = self.prompt_end - len(self.generation.prompt)
        return max(0, min(self.consumed + steps, self.prompt_end) - max(self.consumed, prompt_start))

    def step(self, steps: int, token: int) -> None:
        """Note that the state in ``slot`` has taken so many more tokens, and the last sample."""
        self.forced = self.forced[steps:]
        self.consumed += steps
        self.token = token

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position.

        The state there is the newest one that the session was given; the tokens between the two are
        fed again by the next call.
        """
        if self.session:
            history = self._log[: self.sink.delivered - self.session.consumed]
            self.session.pending = history

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

    def _show(self, text: str) -> None:
        if text:
            self.shown += len(text)
            self.sent = self.prompt_end + self.shown

    def _end(self, reason: FinishReason, stop: str, now: float) -> None:
        self.sent = self.prompt_end + self.shown
        self.finish = Finish(
            reason=reason,
            stop=stop,
            prompt_tokens=len(self.generation.prompt),
            generated_tokens=self.shown,
            seed=self.seed,
            position=self.sent,
            queue_s=(self.chosen_at or now) - self.arrived,
            first_token_s=(self.first_token_at or now) - self.arrived,
            total_s=now - self.arrived,
        )

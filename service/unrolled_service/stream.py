"""One Generate call being served: what it asked for and how far it is.

A stream's state is its own while it runs. Its session, if it has one, keeps the last state that the caller
was shown, and follows as text is delivered; so a stream that breaks off leaves nothing to undo. Runs
on the engine's thread.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from unrolled_service.delivery import Delivery, Described, Sink
from unrolled_service.program import Tokens
from unrolled_service.row import Row
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session
from unrolled_service.slice import Samples, Slice
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
        prompt = generation.prompt
        if generation.resumed_tokens:
            prompt = prompt.copy()
            prompt[-generation.resumed_tokens :] += vocabulary_size
        super().__init__(
            sink,
            lane=lane,
            session=session,
            sampling=generation.sampling,
            seed=seed,
            forced=np.concatenate([np.array(session.pending, np.int64), prompt]) if session else prompt,
            arrived=arrived,
            described=generation.logprobs,
            is_watched=bool(session or generation.stops or generation.logprobs or generation.max_chunk_tokens),
            is_hurried=generation.max_chunk_tokens > 0,
        )
        self.generation = generation
        self.start = self.sent
        self.prompt_end = self.sent + len(prompt)
        self.shown = 0
        self._left = generation.max_tokens
        self._vocabulary_size = vocabulary_size
        self._stops = StopMatcher(generation.stops) if generation.stops else None
        self._log = prompt.tolist() if session else []  # the tokens that the session's history lacks
        self._descriptions: list[Described] = []
        self._untold = ""
        self._stop: str | None = None
        if generation.sampling.penalizes:
            counts = session.history.counts(session.consumed) if session else np.zeros(2 * vocabulary_size)
            self.counts = counts.astype(np.float32)

    @property
    def steps_left(self) -> int:
        """Steps until the last token that was asked for."""
        return max(len(self.forced) - 1, 0) + self._left

    @property
    def unread(self) -> int:
        """Characters handed to the sink that have not left for the caller."""
        return self.sent - max(self.sink.delivered, self.prompt_end) if self.shown else 0

    def take(self, samples: Samples, i: int, record: Slice) -> None:
        """Append the samples that continue the text: none before the prompt's end, none past the budget."""
        first, end = self._advance(samples, record)
        if end <= first or self.is_finished:
            return
        if self.session:
            self._log += [token + self._vocabulary_size for token in samples.columns[i][first:end]]
        if self.described:
            self._descriptions += samples.describe(i, first, end, self.described)
        self._append(samples.text_of(i, first, end), samples, record)

    def take_text(self, text: str, samples: Samples, record: Slice) -> None:
        """Append the samples of several slices, none past the budget."""
        self.consumed += len(text)
        self._append(text[: self._left], samples, record)

    def tell(self, now: float) -> Delivery | None:
        """Return what may be shown of the text, and the finish once it is complete."""
        finish = self._end(now) if self.is_finished else None
        if not (self._untold or finish):
            return None
        text, self._untold, self.told_at = self._untold, "", now
        self.shown += len(text)
        self.sent = self.prompt_end + self.shown
        described: list[Described] = []
        if self.described:
            described, self._descriptions = self._descriptions[: len(text)], self._descriptions[len(text) :]
        return Delivery(self.sink, text, self.sent, described, finish)

    def _advance(self, samples: Samples, record: Slice) -> tuple[int, int]:
        """Note that the state has taken more tokens; return the first and the end of the samples that count."""
        steps, first, forced = samples.steps, 0, len(self.forced)
        self.consumed += steps
        if forced:
            self.forced = self.forced[steps:]
            unfed = max(self.consumed - steps, self.prompt_end - len(self.generation.prompt))
            record.prompt_tokens += max(0, min(self.consumed, self.prompt_end) - unfed)
            first = forced - 1
        end = first + self._left
        return first, end if end < steps else steps

    def _append(self, text: str, samples: Samples, record: Slice) -> None:
        count, now = len(text), samples.ended_at
        if self.last_tokens_at is None:
            self.first_token_at = now
            record.first_tokens_s.append(now - self.arrived)
            record.gaps[samples.step_s] += count - 1
        else:
            record.gaps[(now - self.last_tokens_at) / count] += count
        self.last_tokens_at = now
        self._left -= count
        if not self._left:
            self.is_finished = True
        self._untold += self._match(text) if self._stops is not None else text

    def _match(self, text: str) -> str:
        """Return what may be shown now that there is more text; a stop text ends it."""
        if self._stops is None:
            return text
        shown, match = self._stops.feed(text)
        if match:
            self._stop, self.is_finished = match.stop, True
            return shown
        return shown if self._left else shown + self._stops.flush()

    def unrecorded(self) -> list[int]:
        """Return the tokens, V added to generated ones, that were delivered and are not in the session's history."""
        return self._log[: max(0, self.sink.delivered - self.session.history.end)] if self.session else []

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

    def _end(self, now: float) -> Finish:
        generated = self.shown + len(self._untold)
        return Finish(
            reason=FinishReason.LENGTH if self._stop is None else FinishReason.STOP,
            stop=self._stop or "",
            prompt_tokens=len(self.generation.prompt),
            generated_tokens=generated,
            seed=self.seed,
            start_position=self.start,
            position=self.prompt_end + generated,
            queue_s=(self.chosen_at or now) - self.arrived,
            first_token_s=(self.first_token_at or now) - self.arrived,
            total_s=now - self.arrived,
        )

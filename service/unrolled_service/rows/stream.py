"""One Generate call being served: what it asked for and how far it is.

A stream's state is its own while it runs. Its session, if it has one, keeps the last state that the caller
was shown, and follows as text is delivered; so a stream that breaks off leaves nothing to undo. Runs
on the engine's thread.
"""

import numpy as np

from unrolled_service.graphs.program import Tokens
from unrolled_service.rows.delivery import Delivery, Described, Sink
from unrolled_service.rows.finish import Finish, FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.stops import StopMatcher
from unrolled_service.rows.text_row import TextRow
from unrolled_service.sessions.session import Session


class Stream(TextRow):
    """The progress of one generation.

    Args:
        generation: the checked request.
        fed: int64[P], its prompt, behind a start token where the bundle has one and it begins here.
        sink: where its text goes.
        vocabulary_size: V, the offset that marks generated tokens among forced ones.
        source_inputs: how many inputs an encoder reads before.
        lane, session, seed, arrived: as in ``TextRow``.
    """

    __slots__ = (
        *("_descriptions", "_end_text", "_fed", "_is_described", "_left", "_source_inputs", "_stop", "_stops"),
        *("_untold", "_vocabulary_size", "prompt_end", "shown"),
    )

    def __init__(
        self,
        generation: Generation,
        fed: Tokens,
        sink: Sink,
        *,
        lane: str,
        vocabulary_size: int,
        session: Session | None,
        seed: int,
        arrived: float,
        source_inputs: int = 0,
    ) -> None:
        prompt = fed
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
            traced=generation.traced,
            is_watched=bool(
                session
                or generation.stops
                or generation.end
                or generation.logprobs
                or len(generation.traced)
                or generation.max_chunk_tokens
            ),
            is_hurried=generation.max_chunk_tokens > 0,
        )
        self._end_text = generation.end
        self._fed = len(prompt)
        self._source_inputs = source_inputs
        self.prompt_end = self.sent + self._fed
        self.shown = 0
        self._left = generation.max_tokens
        self._vocabulary_size = vocabulary_size
        stops = (*generation.stops, *filter(None, (generation.end,)))
        self._stops = StopMatcher(stops) if stops else None
        self._is_described = bool(self.described or len(self.traced))
        self._descriptions: list[Described] = []
        self._untold = ""
        self._stop: str | None = None
        if self.trail:
            self.trail.add(prompt)
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
        if self.trail:
            self.trail.add(samples.items(self.trail.form)[i, first:end])
        if self._is_described:
            self._descriptions += samples.describe(i, first, end, count=self.described or None, traced=self.traced)
        self._append(samples.text_of(i, first, end), samples, record)

    def take_text(self, text: str, samples: Samples, record: Slice) -> None:
        """Append the samples of several slices, none past the budget."""
        self.consumed += len(text)
        self._append(text[: self._left], samples, record)

    def tell(self, now: float) -> Delivery | None:
        """Return what may be shown of the text, and the finish once it is complete."""
        if not (self._untold or self.is_finished):
            return None
        text, self._untold = self._untold, ""
        self.shown += len(text)
        self.sent = self.prompt_end + self.shown
        described: list[Described] = []
        if self._is_described:
            described, self._descriptions = self._descriptions[: len(text)], self._descriptions[len(text) :]
        return Delivery(self.sink, text, self.sent, described, self._end(now) if self.is_finished else None)

    def _advance(self, samples: Samples, record: Slice) -> tuple[int, int]:
        """Note that the state has taken more tokens; return the first and the end of the samples that count."""
        steps, first, forced = samples.steps, 0, len(self.forced)
        self.consumed += steps
        if forced:
            self.forced = self.forced[steps:]
            unfed = max(self.consumed - steps, self.prompt_end - self._fed)
            record.prompt_tokens += max(0, min(self.consumed, self.prompt_end) - unfed)
            first = forced - 1
        end = first + self._left
        return first, end if end < steps else steps

    def _append(self, text: str, samples: Samples, record: Slice) -> None:
        self.note_outputs(len(text), samples.ended_at, samples.step_s, record)
        self._left -= len(text)
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

    def _end(self, now: float) -> Finish:
        stop, reason = self._stop or "", FinishReason.LENGTH
        if self._stop is not None:
            stop, reason = ("", FinishReason.END) if stop == self._end_text else (stop, FinishReason.STOP)
        fed = self._source_inputs + self._fed
        return self.finish(reason, now, fed=fed, given=self.shown, seed=self.seed, stop=stop)

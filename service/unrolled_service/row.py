"""A call's place in the batch: what it feeds, how far it is, and what it makes of its samples.

The lane advances rows without knowing what they are for; ``stream`` and ``scoring`` give them a purpose.
Runs on the engine's thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unrolled_service.program import Outcome
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session

Tokens = NDArray[np.int64]


class Sink(Protocol):
    """Where a row's news goes.

    ``delivered`` is the position of the last text that has left for the caller. The sink moves it
    forward, from any thread; the engine only reads it.
    """

    delivered: int


@dataclass(frozen=True, slots=True)
class Described:
    """Log-probabilities at one position: of its token, and (token, log-probability) of the most probable."""

    chosen: float
    top: Sequence[tuple[int, float]]


def describe(outcome: Outcome, i: int, first: int, end: int, count: int) -> list[Described]:
    """Describe the steps from ``first`` to ``end`` of row ``i``, with ``count`` most probable tokens each."""
    chosen = outcome.chosen[first:end, i].tolist()
    tops = outcome.top[first:end, i, :count].tolist()
    tokens = outcome.top_tokens[first:end, i, :count].tolist()
    return [Described(c, list(zip(t, p, strict=True))) for c, t, p in zip(chosen, tokens, tops, strict=True)]


class Delivery(NamedTuple):
    """News for one caller. A tuple, because a slice makes one for nearly every row.

    Attributes:
        sink: where it goes.
        text: to be appended to what came before.
        position: tokens in the history once the text is taken.
        described: one entry a token of the text, or none.
        finish: the result, if this is the last news.
        error: the failure, if this is the last news.
    """

    sink: Sink
    text: str
    position: int
    described: Sequence[Described] = ()
    finish: object = None
    error: Exception | None = None


class Row(ABC):
    """The progress of one call.

    Attributes:
        lane: name of its bundle.
        session: the session it continues, or None.
        slot: where its state is worked on.
        sampling: how its tokens are chosen.
        forced: int64 tokens still to be fed, oldest first; V is added to those that were generated before.
        token: the last sample.
        consumed: tokens of the history that the state in ``slot`` has taken.
        sent: position of the last text handed to the sink.
        is_counted: something may yet depend on how often its tokens were fed and generated.
        is_finished: nothing more will be computed.
        is_closed: the lane has let go of it.
        arrived, chosen_at, first_token_at, last_tokens_at: moments of engine time.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        slot: int,
        sampling: Sampling,
        seed: int,
        forced: Tokens,
        arrived: float,
    ) -> None:
        self.sink = sink
        self.lane = lane
        self.session = session
        self.slot = slot
        self.sampling = sampling
        self.seed = seed
        self.forced = forced
        self.token = 0
        self.consumed = session.consumed if session else 0
        self.sent = session.position if session else 0
        self.is_counted = session is not None or sampling.penalizes
        self.is_finished = False
        self.is_closed = False
        self.arrived = arrived
        self.chosen_at: float | None = None
        self.first_token_at: float | None = None
        self.last_tokens_at: float | None = None
        sink.delivered = self.sent

    @property
    @abstractmethod
    def steps_left(self) -> int:
        """Steps until the last token that was asked for."""

    @property
    def patience(self) -> int:
        """Steps after which its caller wants news; 0 for no matter."""
        return 0

    @property
    def unread(self) -> int:
        """Characters handed to the sink that have not left for the caller."""
        return 0

    @property
    def described(self) -> int:
        """How many of the most probable tokens each step describes beside its own; 0 describes nothing."""
        return 0

    @property
    def is_over(self) -> bool:
        """Whether everything is computed and has left for the caller."""
        return self.is_finished and self.sink.delivered >= self.sent

    def targets(self, steps: int) -> Tokens:
        """Return tokens to describe at the next steps; fewer than ``steps`` describe the samples after that."""
        del steps
        return np.empty(0, np.int64)

    def step(self, steps: int, token: int) -> None:
        """Note that the state in ``slot`` has taken so many more tokens, and the last sample."""
        if len(self.forced):
            self.forced = self.forced[steps:]
        self.consumed += steps
        self.token = token

    @abstractmethod
    def prompt_tokens_within(self, steps: int) -> int:
        """Return how many of the next steps feed a token of this call's own text."""

    @abstractmethod
    def samples_within(self, steps: int) -> tuple[int, int]:
        """Return the first and the end of the next steps whose samples count; empty if none does."""

    @abstractmethod
    def take(self, text: str, outcome: Outcome, i: int, first: int, end: int, now: float) -> Delivery | None:
        """Take the samples that count; return news for the caller, if there is any.

        Args:
            text: the samples from step ``first`` to ``end`` as text.
            outcome: what the slice gave.
            i: this row's place in it.
            first: as ``samples_within`` gave it.
            end: as ``samples_within`` gave it.
            now: engine time.
        """

    def can_advance_session(self) -> bool:
        """Return whether the state in ``slot`` may become the session's."""
        return False

    def advance_session(self) -> None:
        """Note that the session now holds the state in ``slot``."""

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position."""

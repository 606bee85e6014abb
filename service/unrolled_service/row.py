"""A call's place in the batch: what it feeds, how far it is, and what it makes of its samples.

The lane advances rows without knowing what they are for; ``stream`` and ``scoring`` give them a purpose.
Runs on the engine's thread.
"""

from abc import ABC, abstractmethod

import numpy as np

from unrolled_service.arena import Floats
from unrolled_service.delivery import Delivery, Sink
from unrolled_service.program import Tokens
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session
from unrolled_service.slice import Slice

NOWHERE = -1


class Row(ABC):
    """The progress of one call.

    Attributes:
        lane: name of its bundle.
        session: the session it continues, or None.
        sampling: how its tokens are chosen.
        seed: of its draws.
        forced: int64 tokens still to be fed, oldest first; V is added to those that were generated before.
        place: where it stands in the batch, or ``NOWHERE``.
        state: f32[S], its state while it is not in the batch; None where nobody needs it any more.
        token: its last sample when it left the batch.
        consumed: tokens of the history that its state has taken.
        sent: position of the last text handed to the sink.
        counts: f32[2V], how often each token was fed, then how often each was generated, before
            ``consumed``; None where nothing depends on it.
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
        sampling: Sampling,
        seed: int,
        forced: Tokens,
        arrived: float,
    ) -> None:
        self.sink = sink
        self.lane = lane
        self.session = session
        self.sampling = sampling
        self.seed = seed
        self.forced = forced
        self.place = NOWHERE
        self.state: Floats | None = None
        self.token = 0
        self.consumed = session.consumed if session else 0
        self.sent = session.position if session else 0
        self.counts: Floats | None = None
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
    def is_plain(self) -> bool:
        """Whether it asks for nothing but a temperature."""
        return not (self.sampling.adjusts or self.sampling.truncates or self.described)

    @property
    def is_over(self) -> bool:
        """Whether everything is computed and has left for the caller."""
        return self.is_finished and self.sink.delivered >= self.sent

    def targets(self, steps: int) -> Tokens:
        """Return tokens to describe at the next steps; fewer than ``steps`` describe the samples after that."""
        del steps
        return np.empty(0, np.int64)

    @abstractmethod
    def take(self, done: Slice, i: int) -> Delivery | None:
        """Take the samples that count; return news for the caller, if there is any.

        Args:
            done: the slice, into which it writes what it counts.
            i: this row's place in it.
        """

    def step(self, steps: int) -> int:
        """Note that the state has taken so many more tokens; return how many of them were forced before."""
        forced = len(self.forced)
        if forced:
            self.forced = self.forced[steps:]
        self.consumed += steps
        return forced

    def can_advance_session(self) -> bool:
        """Return whether its state may become the session's."""
        return False

    def advance_session(self) -> None:
        """Note that the session now holds its state."""

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position."""

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
from unrolled_service.slice import Samples, Slice

NOWHERE = -1


class Row(ABC):
    """The progress of one call.

    Attributes:
        lane: name of its bundle.
        session: the session it continues, or None.
        sampling: how its tokens are chosen.
        seed: of its draws.
        described: how many of the most probable tokens each step describes beside its own; 0 describes nothing.
        is_plain: it asks for nothing but a temperature.
        is_watched: it must take its samples after every slice; others may wait until it is time for news.
        is_hurried: its caller wants news soon rather than much of it.
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
        arrived, chosen_at, first_token_at, last_tokens_at, told_at: moments of engine time.
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
        described: int = 0,
        is_watched: bool = True,
        is_hurried: bool = False,
    ) -> None:
        self.sink = sink
        self.lane = lane
        self.session = session
        self.sampling = sampling
        self.seed = seed
        self.described = described
        self.is_plain = not (sampling.adjusts or sampling.truncates or described)
        self.is_watched = is_watched
        self.is_hurried = is_hurried
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
        self.told_at = arrived
        sink.delivered = self.sent

    @property
    @abstractmethod
    def steps_left(self) -> int:
        """Steps until the last token that was asked for."""

    @property
    def unread(self) -> int:
        """Characters handed to the sink that have not left for the caller."""
        return 0

    @property
    def is_over(self) -> bool:
        """Whether everything is computed and has left for the caller."""
        return self.is_finished and self.sink.delivered >= self.sent

    def targets(self, steps: int) -> Tokens:
        """Return tokens to describe at the next steps; fewer than ``steps`` describe the samples after that."""
        del steps
        return np.empty(0, np.int64)

    @abstractmethod
    def take(self, samples: Samples, i: int, record: Slice) -> None:
        """Take its part of the samples of a slice.

        Args:
            samples: of the slice after the last one it took.
            i: this row's place in it.
            record: into which it writes what it counts.
        """

    def take_text(self, text: str, samples: Samples, record: Slice) -> None:  # noqa: ARG002
        """Take its part of several slices at once, as one text; only for rows that are not watched.

        Args:
            text: one character a step.
            samples: of the last of the slices.
            record: into which it writes what it counts.
        """
        raise TypeError(f"{type(self).__name__} must be watched")

    @abstractmethod
    def tell(self, now: float) -> Delivery | None:
        """Return news for the caller, if there is any."""

    def can_advance_session(self) -> bool:
        """Return whether its state may become the session's."""
        return False

    def advance_session(self) -> None:
        """Note that the session now holds its state."""

    def unrecorded(self) -> list[int]:
        """Return the tokens, V added to generated ones, that were delivered and are not in the session's history."""
        return []

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position."""

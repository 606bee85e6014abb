"""A call's place in the batch: what it feeds, how far it is, and what becomes of its session.

The lanes advance rows without knowing what they are for; those that give text are in ``text_row``, the others in
``sequence_row``. Runs on the engine's thread.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Delivery, Sink
from unrolled_service.rows.finish import Finish, FinishReason
from unrolled_service.rows.slice import Slice
from unrolled_service.rows.trail import Trail
from unrolled_service.sessions.history import Items
from unrolled_service.sessions.session import Session
from unrolled_service.tenants.terms import NOBODY

NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Mark:
    """A state that a row had.

    Attributes:
        position: inputs of the history that it has taken.
        state: f32[S], its own memory.
    """

    position: int
    state: Floats


class Row(ABC):
    """The progress of one call.

    Attributes:
        lane: key of its lane.
        session: the session it continues, or None.
        trail: what it adds to that.
        forced: inputs still to be fed, oldest first: int64[N], V added to tokens that were generated before, or
            f32[N, F].
        is_hurried: its caller wants news soon rather than much of it.
        place: where it stands in the batch, or ``NOWHERE``.
        state: f32[S], its state while nobody else keeps it; None where it is needed no more.
        consumed: inputs of the history that its state has taken.
        mark: a state that it had, which its session takes once the caller was shown what led to it; None without.
        start: position at which it began.
        sent: position of the last news handed to the sink.
        source: the row that makes its first state, where there is one.
        is_finished: nothing more will be computed.
        is_closed: the lane has let go of it.
        terms: on whose account it runs.
        waits_since: the moment that counts where rows wait for places: its arrival, or the end of its last turn.
        turn_ends: until when it may keep its place while others wait.
        arrived, chosen_at, first_token_at, last_tokens_at: moments of engine time.
    """

    __slots__ = (
        *("lane", "session", "sink", "source", "state", "terms", "trail"),
        *("consumed", "forced", "mark", "place", "sent", "start"),
        *("is_closed", "is_finished", "is_hurried"),
        *("arrived", "chosen_at", "first_token_at", "last_tokens_at", "turn_ends", "waits_since"),
    )

    def __init__(
        self,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        forced: NDArray[Any],
        arrived: float,
        width: int = 0,
        is_hurried: bool = False,
    ) -> None:
        self.sink = sink
        self.lane = lane
        self.session = session
        self.trail = Trail(session, width) if session else None
        self.forced = forced
        self.is_hurried = is_hurried
        self.place = NOWHERE
        self.state: Floats | None = None
        self.consumed = session.consumed if session else 0
        self.mark: Mark | None = None
        self.start = self.sent = session.position if session else 0
        self.source: Row | None = None
        self.is_finished = False
        self.is_closed = False
        self.terms = NOBODY
        self.arrived = self.waits_since = arrived
        self.turn_ends = -math.inf
        self.chosen_at: float | None = None
        self.first_token_at: float | None = None
        self.last_tokens_at: float | None = None
        sink.delivered = self.sent

    @property
    def model(self) -> str:
        """Name of its bundle."""
        return self.lane.partition("@")[0]

    @property
    @abstractmethod
    def steps_left(self) -> int:
        """Steps until the last output that was asked for."""

    @property
    def unread(self) -> int:
        """Characters or outputs handed to the sink that have not left for the caller."""
        return 0

    @property
    def is_starved(self) -> bool:
        """Whether it waits for inputs of its caller."""
        return False

    @property
    def is_over(self) -> bool:
        """Whether everything is computed and has left for the caller."""
        return self.is_finished and self.sink.delivered >= self.sent

    @abstractmethod
    def tell(self, now: float) -> Delivery | None:
        """Return news for the caller, if there is any."""

    def note_outputs(self, count: int, now: float, step_s: float, record: Slice) -> None:
        """Note when outputs came, spread evenly over the time since those before."""
        if self.last_tokens_at is None:
            self.first_token_at = now
            record.first_tokens_s.append(now - self.arrived)
            record.gaps[step_s] += count - 1
        else:
            record.gaps[(now - self.last_tokens_at) / count] += count
        self.last_tokens_at = now

    def finish(
        self, reason: FinishReason, now: float, *, fed: int, given: int, seed: int = 0, stop: str = ""
    ) -> Finish:
        """Return how it ended, once everything is handed to the sink."""
        return Finish(
            reason=reason,
            stop=stop,
            prompt_tokens=fed,
            generated_tokens=given,
            seed=seed,
            start_position=self.start,
            position=self.sent,
            queue_s=(self.chosen_at or now) - self.arrived,
            first_token_s=(self.first_token_at or now) - self.arrived,
            total_s=now - self.arrived,
        )

    def can_advance_session(self, position: int) -> bool:
        """Return whether the state at a position, which it had, may become the session's.

        It may when the caller was shown every input that the state has taken and one more, which a later call
        needs as its first.
        """
        return self.session is not None and self.session.consumed < position < self.sink.delivered

    def advance_session(self, position: int) -> None:
        """Note that the session now holds its state at a position."""
        if self.session and self.trail:
            self.trail.record(position)
            self.session.consumed = position

    def unrecorded(self) -> Items:
        """Return the inputs that were delivered and are not in the session's history."""
        return self.trail.unrecorded(self.sink.delivered) if self.trail else []

    def keep_delivered(self) -> None:
        """Leave the session at the last delivered position.

        Its state is the newest one that it was given; the inputs between the two are fed again by the
        next call.
        """
        if self.trail:
            self.trail.record(self.sink.delivered)

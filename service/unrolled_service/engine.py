"""The engine: sessions, streams, and whose turn it is.

Everything up to here runs on one thread, in a plain loop: no asyncio, no gRPC, no locks.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice

from unrolled_service.bundle import Bundle
from unrolled_service.delivery import Delivery, Sink
from unrolled_service.errors import (
    Draining,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    PositionMismatch,
    QueueFull,
    SessionBusy,
    SlotsExhausted,
)
from unrolled_service.history import History
from unrolled_service.lane import Lane
from unrolled_service.row import Row
from unrolled_service.scoring import ScoreRow, Scoring
from unrolled_service.session import Session, SessionInfo, SessionTable, make_session_id
from unrolled_service.settings import Settings
from unrolled_service.slice import Slice
from unrolled_service.stream import Generation, Stream

_RETRY_AFTER_S = 1.0


class SliceFailed(Exception):
    """A slice broke off; the argument is the name of the model, the cause says why."""


class Engine:
    """Holds the lanes and the sessions, and advances the lanes in turn, a slice at a time.

    Args:
        bundles: what to serve; their names differ.
        settings: limits.
        clock: monotonic seconds.
        mark: last character of the session ids made here; tells engines apart.
        serials: numbers sessions in the order of creation, across engines.

    Attributes:
        is_draining: new work is refused.
        on_expired: called with how many sessions expired, whenever some did.
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        *,
        mark: str = "0",
        serials: Iterator[int] | None = None,
    ) -> None:
        self.lanes = {bundle.name: Lane(bundle, settings) for bundle in bundles}
        self.is_draining = False
        self.on_expired: Callable[[int], None] = lambda _: None
        self._settings = settings
        self._clock = clock
        self._turns = list(self.lanes.values())
        self._sessions = SessionTable()
        self._mark = mark
        self._serials = count(1) if serials is None else serials

    @property
    def streams(self) -> int:
        """Streams that were submitted and not closed."""
        return sum(lane.streams for lane in self._turns)

    @property
    def session_count(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    def slice(self, before_run: Callable[[], None] = lambda: None) -> Slice | None:
        """Advance the next lane that has a row to run; return None if none has.

        Args:
            before_run: called just before the lane's program runs; the moment to wake other threads.

        Raises:
            SliceFailed: a defect; the streams of the model it names cannot go on.
        """
        for i, lane in enumerate(self._turns):
            try:
                done = lane.slice(self._clock(), before_run)
            except Exception as error:
                raise SliceFailed(lane.bundle.name) from error
            if done:
                self._turns = self._turns[i + 1 :] + self._turns[: i + 1]
                return done
        return None

    def lane(self, model: str) -> Lane:
        """Return the lane of a bundle; of the only one if ``model`` is empty.

        Raises:
            ModelNotFound: there is none of that name, or the empty name is ambiguous.
        """
        if model in self.lanes:
            return self.lanes[model]
        if model:
            raise ModelNotFound(f"no model {model!r} is served; there are: {', '.join(self.lanes)}")
        if len(self.lanes) > 1:
            raise ModelNotFound(f"several models are served, name one of: {', '.join(self.lanes)}")
        return next(iter(self.lanes.values()))

    def submit(self, model: str, generation: Generation, sink: Sink, *, arrived: float | None = None) -> Stream:
        """Begin a stream; its text goes to the sink. ``close`` must follow, however it ends.

        Args:
            model: name of the bundle; empty for the session's, or for the only one.
            generation: the checked request.
            sink: where the text goes.
            arrived: when the request came in, by the engine's clock; None for now.

        Raises:
            ModelNotFound, SessionNotFound, SessionExpired, SessionBusy, ModelMismatch,
            PositionMismatch, InvalidField, QueueFull, Draining: nothing was done.
        """
        self._check_open()
        session = self.session(generation.session_id) if generation.session_id else None
        lane = self.lane(model or session.model) if session else self.lane(model)
        if session:
            _check_session(session, lane)
        _check_position(session.position if session else 0, generation)
        self._check_place(lane)
        seed = generation.seed
        if seed is None:
            seed = session.seed if session else make_seed()
        stream = Stream(
            generation,
            sink,
            lane=lane.bundle.name,
            vocabulary_size=len(lane.bundle.vocabulary),
            session=session,
            seed=seed,
            arrived=self._clock() if arrived is None else arrived,
        )
        lane.admit(stream)
        return stream

    def submit_scoring(self, model: str, scoring: Scoring, sink: Sink) -> ScoreRow:
        """Begin a scoring; its result goes to the sink. ``close`` must follow, however it ends.

        Raises:
            ModelNotFound, QueueFull, Draining: nothing was done.
        """
        self._check_open()
        lane = self.lane(model)
        self._check_place(lane)
        row = ScoreRow(scoring, sink, lane=lane.bundle.name, arrived=self._clock())
        lane.admit(row)
        return row

    def close(self, row: Row) -> None:
        """End a row, finished or not; its session is left at the last delivered position."""
        if row.is_closed:
            return
        row.is_closed = True
        self.lanes[row.lane].release(row)
        if row.session:
            row.session.expires = self._clock() + row.session.ttl_s

    def fail(self, error: Exception, *, model: str | None = None) -> list[Delivery]:
        """Stop computing every stream, or those of one model; return the news for their callers."""
        lanes = [self.lanes[model]] if model else self._turns
        news = []
        for lane in lanes:
            for stream in list(lane.scheduler):
                lane.stop(stream)
                news.append(Delivery(stream.sink, "", stream.sent, error=error))
        return news

    def create_session(self, model: str, *, seed: int | None, ttl_s: float | None) -> Session:
        """Make a session at the zero state.

        Args:
            model: name of the bundle; empty for the only one.
            seed: seed of its draws; None draws one.
            ttl_s: idle time to keep it for; None takes the default.

        Raises:
            ModelNotFound, SlotsExhausted, Draining: nothing was done.
        """
        self._check_open()
        lane = self.lane(model)
        if lane.sessions >= self._settings.max_sessions:
            raise SlotsExhausted(
                f"all {self._settings.max_sessions} sessions of {lane.bundle.name!r} are taken",
                retry_after_s=_RETRY_AFTER_S,
            )
        ttl_s = self._settings.session_ttl_s if ttl_s is None else ttl_s
        session = Session(
            id=make_session_id(self._mark),
            serial=next(self._serials),
            model=lane.bundle.name,
            seed=make_seed() if seed is None else seed,
            history=History(len(lane.bundle.vocabulary), self._settings.rewind_tokens),
            ttl_s=ttl_s,
            created=time.time(),
            expires=self._clock() + ttl_s,
        )
        lane.sessions += 1
        self._sessions.add(session)
        return session

    def session(self, session_id: str) -> Session:
        """Return a session; a stream on it that is over is closed first.

        Raises:
            SessionNotFound, SessionExpired
        """
        self.expire()
        session = self._sessions.find(session_id)
        if session.row and session.row.is_over:
            self.close(session.row)
        return session

    def sessions(self, after: int, limit: int) -> list[Session]:
        """Return up to ``limit`` sessions, oldest first, made after the one with serial ``after``."""
        self.expire()
        return list(islice((session for session in self._sessions if session.serial > after), limit))

    def delete_session(self, session_id: str) -> None:
        """End a session.

        Raises:
            SessionNotFound, SessionExpired, SessionBusy
        """
        session = self.session(session_id)
        if session.row:
            raise SessionBusy
        self._sessions.remove(session)
        self._free(session)

    def expire(self) -> int:
        """End the sessions that were idle for too long; return how many."""
        gone = self._sessions.expire(self._clock())
        for session in gone:
            self._free(session)
        if gone:
            self.on_expired(len(gone))
        return len(gone)

    def describe(self, session: Session) -> SessionInfo:
        """Return a session as it is now."""
        return SessionInfo(
            id=session.id,
            serial=session.serial,
            model=session.model,
            seed=session.seed,
            position=session.position,
            is_busy=session.row is not None,
            created=session.created,
            seconds_left=session.ttl_s if session.row else session.expires - self._clock(),
        )

    def seconds_to_expiry(self) -> float | None:
        """Return the seconds until ``expire`` may have something to do, or None."""
        deadline = self._sessions.next_deadline()
        return None if deadline is None else max(0.0, deadline - self._clock())

    def _free(self, session: Session) -> None:
        lane = self.lanes[session.model]
        lane.residency.release(session)
        lane.sessions -= 1

    def _check_place(self, lane: Lane) -> None:
        if lane.streams >= self._settings.max_streams:
            raise QueueFull(
                f"all {self._settings.max_streams} places for streams are taken", retry_after_s=_RETRY_AFTER_S
            )

    def _check_open(self) -> None:
        if self.is_draining:
            raise Draining


def _check_session(session: Session, lane: Lane) -> None:
    if session.model != lane.bundle.name:
        raise ModelMismatch(f"the session belongs to {session.model!r}, not to {lane.bundle.name!r}")
    if session.row:
        raise SessionBusy


def _check_position(position: int, generation: Generation) -> None:
    expected = generation.expected_position
    if expected is not None and expected != position:
        raise PositionMismatch(f"expected_position is {expected}, the session is at {position}")
    if position == 0 and not len(generation.prompt):
        raise InvalidField("prompt", "must have at least one character at position 0: there is nothing to continue")


def make_seed() -> int:
    """Return a random seed of 64 bits."""
    return secrets.randbits(64)

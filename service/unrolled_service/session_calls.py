"""What calls ask of an engine's sessions: to be made, found, copied, rewound, moved and ended.

A session is where its caller expects it, or nothing is done. Runs on the engine's thread.
"""

from collections.abc import Callable

from unrolled_service.errors import Draining, SessionBusy
from unrolled_service.lineup import Lineup, check_stays
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.registry import Origin, check_position
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content


class SessionCalls(Lineup):
    """Acts on the sessions of all lanes.

    The arguments are those of ``Lineup``.

    Attributes:
        is_draining: new work is refused.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], origin: Origin) -> None:
        super().__init__(settings, clock, origin)
        self.is_draining = False

    def bundle_of(self, session_id: str, model: str, *, owner: str = "") -> Bundle:
        """Return the bundle of a call on a session of an owner: the session's, unless the call names another one.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, ModelNotFound
        """
        session = self.session(session_id, owner=owner)
        lane = self.registry.lane_of(session) if model in ("", session.model) else self.lane(model)
        return lane.bundle

    def close(self, row: Row) -> None:
        """End a row, finished or not; its session is left at the last delivered position."""
        if row.is_closed:
            return
        row.is_closed = True
        self.every_lane[row.lane].release(row)
        if row.source:
            self._encoders[row.lane].release(row.source)
        if row.session:
            self.registry.use(row.session)

    def session(self, session_id: str, *, owner: str = "") -> Session:
        """Return a session of an owner; a stream on it that is over is closed first. Others' sessions do not exist.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted
        """
        session = self.registry.find(session_id, owner=owner)
        if session.row and session.row.is_over:
            self.close(session.row)
        return session

    def create_session(self, model: str, *, seed: int | None, ttl_s: float | None, owner: str = "") -> Session:
        """Make a session at the zero state.

        Args:
            model: name of the bundle; empty for the only one.
            seed: seed of its draws; None draws one.
            ttl_s: idle time to keep it for; None takes the default.
            owner: the tenant whose it is.

        Raises:
            ModelNotFound, TaskMismatch, SlotsExhausted, Draining: nothing was done.
        """
        self._check_open()
        lane = self.lane(model)
        abilities.check_sessions(lane.bundle)
        return self.registry.create(lane, seed=seed, ttl_s=ttl_s, owner=owner)

    def fork_session(
        self, session_id: str, seeds: list[int | None], *, expected: int | None = None, owner: str = ""
    ) -> list[Session]:
        """Make a session for each seed, None for the same one, that begins where another one is.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SlotsExhausted, Draining: nothing
                was done.
        """
        self._check_open()
        session = self.session(session_id, owner=owner)
        check_stays(self.registry.lane_of(session))
        check_position(session.position, expected)
        return self.registry.fork(session, seeds)

    def rewind_session(
        self, session_id: str, position: int, *, expected: int | None = None, owner: str = ""
    ) -> Session:
        """Take a session back to a position that it had.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy, RewindOutOfRange: nothing
                was done.
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        self.registry.rewind(session, position)
        return session

    def take_out_session(self, session_id: str, *, expected: int | None = None, owner: str = "") -> Content:
        """Return everything that a session's text depends on.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        return self.registry.take_out(session)

    def put_in_session(self, content: Content, *, seed: int | None, ttl_s: float) -> Session:
        """Make a session of what ``take_out_session`` gave, here or elsewhere.

        Raises:
            SlotsExhausted, Draining: nothing was done.
        """
        self._check_open()
        return self.registry.put_in(content, seed=seed, ttl_s=ttl_s)

    def check_idle(self, session_id: str, *, expected: int | None = None, owner: str = "") -> None:
        """Refuse what ``delete_session`` would refuse, and do nothing.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy
        """
        session = self.session(session_id, owner=owner)
        check_position(session.position, expected)
        if session.row:
            raise SessionBusy

    def delete_session(self, session_id: str, *, expected: int | None = None, owner: str = "") -> None:
        """End a session.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted, PositionMismatch, SessionBusy: nothing was done.
        """
        self.check_idle(session_id, expected=expected, owner=owner)
        self.registry.remove(self.session(session_id, owner=owner))

    def _check_open(self) -> None:
        if self.is_draining:
            raise Draining

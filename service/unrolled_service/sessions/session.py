"""Sessions: who claims which state, how far it is and when it expires.

A session's history is every token, or vector, fed to it and delivered from it. Its state has taken the first
``consumed`` of them; ``pending`` are the rest, which the next stream feeds first. Runs on the engine's thread.
"""

import heapq
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from unrolled_service.errors import SessionEvicted, SessionExpired, SessionNotFound
from unrolled_service.sessions.history import History, Items

if TYPE_CHECKING:
    from unrolled_service.rows.row import Row

_REMEMBERED_ENDS = 65_536
_DEADLINES_KEPT = 1024


class Tier(Enum):
    """Where a session's state is: in the arena, or packed beside it."""

    RESIDENT = "resident"
    PACKED = "packed"


@dataclass(slots=True, eq=False)
class Session:
    """A claim on a state.

    Attributes:
        id: unguessable, made by the server.
        serial: its place in the order of creation.
        model: name of its bundle.
        seed: seed of its draws where a call gives none.
        history: its inputs.
        ttl_s: idle time it is kept for.
        created: wall-clock time, seconds since the epoch.
        ends: engine time at which it ends however much it is used.
        expires: engine time at which it ends; moved by each use.
        consumed: inputs that its state has taken.
        slot: where its state is while it is resident, or None.
        packed: its state while it is not, f32[S] as bytes; None for the zero state.
        counted_bytes: what it was last counted as, states and history.
        row: the stream that runs on it.
        epoch: number of this server's ownership in the store; 0 while it is not stored.
        lane: key of its lane.
        owner: the tenant whose it is; empty where callers are not told apart.
    """

    id: str
    serial: int
    model: str
    seed: int
    history: History
    ttl_s: float
    created: float
    ends: float
    expires: float
    consumed: int = 0
    slot: int | None = None
    packed: bytes | None = None
    counted_bytes: int = 0
    row: "Row | None" = None
    epoch: int = 0
    lane: str = ""
    owner: str = ""

    @property
    def position(self) -> int:
        """Inputs in the history, as far as the caller was given it."""
        return self.history.end if self.row is None else self.row.sink.delivered

    @property
    def pending(self) -> Items:
        """Inputs of the history that its state has not taken."""
        return self.history.since(self.consumed)

    @property
    def is_untouched(self) -> bool:
        """Whether its state is the zero state."""
        return not self.consumed and self.history.anchor.state is None

    def use(self, now: float) -> None:
        """Postpone its expiry."""
        self.expires = min(now + self.ttl_s, self.ends)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as it is at one moment, for other threads than the engine's."""

    id: str
    serial: int
    model: str
    seed: int
    position: int
    is_busy: bool
    created: float
    seconds_left: float
    rewindable_from: int
    tier: Tier
    ttl_s: float
    epoch: int


class SessionTable:
    """The sessions by id. Looking one up is O(1); finding the expired ones costs only those."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._ends: OrderedDict[str, tuple[str, type[SessionExpired | SessionEvicted]]] = OrderedDict()
        self._deadlines: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def add(self, session: Session) -> None:
        """Take in a new session."""
        self._sessions[session.id] = session
        self._ends.pop(session.id, None)
        heapq.heappush(self._deadlines, (session.expires, session.id))

    def find(self, session_id: str, owner: str = "") -> Session:
        """Return a session of an owner; to anybody else it never was.

        Raises:
            SessionExpired: it was here and was idle for too long.
            SessionEvicted: it was here and was given up to make room.
            SessionNotFound: anything else.
        """
        session = self._sessions.get(session_id)
        if session is not None and session.owner == owner:
            return session
        whose, why = self._ends.get(session_id, (owner, SessionNotFound))
        raise (why if whose == owner else SessionNotFound)()

    def remove(self, session: Session, why: type[SessionExpired | SessionEvicted] | None = None) -> None:
        """Forget a session; remember why, if that is for its owner to know."""
        del self._sessions[session.id]
        if why is not None:
            self._ends[session.id] = (session.owner, why)
            if len(self._ends) > _REMEMBERED_ENDS:
                self._ends.popitem(last=False)
        if len(self._deadlines) > 2 * len(self._sessions) + _DEADLINES_KEPT:  # most are of sessions long gone
            self._deadlines = [(each.expires, each.id) for each in self]
            heapq.heapify(self._deadlines)

    def hasten(self, session: Session) -> None:
        """Note that a session's time has come earlier than it seemed."""
        heapq.heappush(self._deadlines, (session.expires, session.id))

    def next_deadline(self) -> float | None:
        """Return the engine time at which ``expired`` has something to look at, or None."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> list[Session]:
        """Forget and return the idle sessions whose time has come."""
        gone = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, session_id = heapq.heappop(self._deadlines)
            session = self._sessions.get(session_id)
            if session is None:
                continue
            if session.row is not None or session.expires > now:
                later = session.expires if session.expires > now else now + session.ttl_s
                heapq.heappush(self._deadlines, (later, session_id))
                continue
            self.remove(session, SessionExpired)
            gone.append(session)
        return gone


def make_seed() -> int:
    """Return a random seed of 64 bits."""
    return secrets.randbits(64)


def make_session_id(mark: str) -> str:
    """Return a new url-safe id: 128 random bits, then the mark."""
    return secrets.token_urlsafe(16) + mark

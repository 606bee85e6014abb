"""The sessions of an engine: made, found, copied, rewound, taken out and put in, ended.

Every operation happens whole or not at all, between two slices. Nothing is lost silently: a session that is
gone is known to have expired or to have been evicted. Runs on the engine's thread.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from unrolled_service.errors import (
    PositionMismatch,
    RewindOutOfRange,
    SessionBusy,
    SessionEvicted,
    SlotsExhausted,
    SnapshotMismatch,
)
from unrolled_service.lanes.lane import Lane
from unrolled_service.sessions.history import ORIGIN, Checkpoint, History
from unrolled_service.sessions.holdings import Holdings
from unrolled_service.sessions.session import Session, SessionInfo, SessionTable, make_seed, make_session_id
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content

_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What makes an engine's sessions different from those of other engines.

    Attributes:
        mark: last character of the ids made here.
        serials: numbers sessions in the order of creation, across engines.
    """

    mark: str
    serials: Iterator[int]


class Registry:
    """The sessions of all lanes of an engine.

    Args:
        settings: limits.
        clock: engine time, seconds.
        origin: marks what is made here.

    Attributes:
        on_expired: called with how many sessions expired, whenever some did.
        on_evicted: called whenever a session was given up.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], origin: Origin) -> None:
        self.on_expired: Callable[[int], None] = lambda _: None
        self.on_evicted: Callable[[], None] = lambda: None
        self._lanes: dict[str, Lane] = {}
        self._settings = settings
        self._clock = clock
        self._origin = origin
        self._table = SessionTable()
        self._owned: Counter[str] = Counter()
        self._holdings: dict[str, Holdings] = {}

    def __len__(self) -> int:
        return len(self._table)

    def add_lane(self, lane: Lane) -> None:
        """Take in the sessions of one more lane."""
        self._lanes[lane.key] = lane
        self._holdings[lane.key] = Holdings(
            self._settings.max_sessions, self._settings.session_memory_mib * 2**20, self._settings.evict_after_s
        )

    def drop_lane(self, lane: Lane) -> None:
        """Forget a lane that has no sessions."""
        del self._lanes[lane.key], self._holdings[lane.key]

    def lane_of(self, session: Session) -> Lane:
        """Return the lane on which a session is, whoever has its name now."""
        return self._lanes[session.lane]

    def give_up(self, lane: Lane) -> int:
        """End the sessions of a lane on which no stream runs; return how many."""
        idle = list(self._holdings[lane.key])
        for session in idle:
            self._table.remove(session, SessionEvicted)
            self._forget(session)
        return len(idle)

    def owned_by(self, owner: str) -> int:
        """Return how many sessions a tenant has here. Any thread may call it."""
        return self._owned[owner]

    def create(self, lane: Lane, *, seed: int | None, ttl_s: float | None, owner: str = "") -> Session:
        """Make a session at the zero state.

        Args:
            lane: of its bundle.
            seed: seed of its draws; None draws one.
            ttl_s: idle time to keep it for; None takes the default.
            owner: the tenant whose it is.

        Raises:
            SlotsExhausted: nothing was done.
        """
        self._make_room(lane, 1, owner)
        history = History(lane.form, self._settings.rewind_tokens)
        return self._add(lane, history, seed=seed, ttl_s=ttl_s, owner=owner)

    def find(self, session_id: str, *, owner: str = "") -> Session:
        """Return a session of an owner.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted
        """
        self.expire()
        return self._table.find(session_id, owner)

    def page(self, after: int, limit: int, *, owner: str = "") -> list[Session]:
        """Return up to ``limit`` sessions of an owner, oldest first, made after the one with serial ``after``."""
        self.expire()
        own = (session for session in self._table if session.serial > after and session.owner == owner)
        return list(islice(own, limit))

    def fork(self, session: Session, seeds: Sequence[int | None]) -> list[Session]:
        """Make a session for each seed, None for the same one, that begins where another one is.

        Raises:
            SlotsExhausted: nothing was done.
        """
        lane = self._lanes[session.lane]
        self.use(session)  # so it neither expires nor is given up while there is made room for its copies
        self._make_room(lane, len(seeds), session.owner, sparing=session)
        state = None if session.is_untouched else lane.residency.state_of(session).tobytes()
        copies, unrecorded = [], session.row.unrecorded() if session.row else ()
        for given in seeds:
            seed = session.seed if given is None else given
            history = session.history.fork()
            history.extend(unrecorded)
            copy = self._add(
                lane, history, session.consumed, state, seed=seed, ttl_s=session.ttl_s, owner=session.owner
            )
            copies.append(copy)
        return copies

    def rewind(self, session: Session, position: int) -> None:
        """Take an idle session back to a position that it had.

        Raises:
            SessionBusy, RewindOutOfRange: nothing was done.
        """
        if session.row:
            raise SessionBusy
        first, last = session.history.start, session.history.end
        if not first <= position <= last:
            raise RewindOutOfRange(f"position must be from {first} to {last}, is {position}", position=session.position)
        self._lanes[session.lane].residency.rewind(session, position)
        self.use(session)

    def take_out(self, session: Session) -> Content:
        """Return everything that a session's text depends on, as of its last delivered position.

        It begins where the session can be rewound to, so that it can be rewound where it is put in.
        """
        lane = self._lanes[session.lane]
        residency, anchor = lane.residency, session.history.anchor
        counts = session.history.counts(anchor.position).astype(np.float32)
        size = lane.form.vocabulary_size
        is_ahead = session.consumed > anchor.position
        return Content(
            host=lane.bundle.host,
            owner=session.owner,
            seed=session.seed,
            consumed=anchor.position,
            state=residency.initial if anchor.state is None else np.frombuffer(anchor.state, np.float32),
            pending=(
                *session.history.since(anchor.position),
                *(session.row.unrecorded() if session.row else ()),
            ),
            generated=counts[size:],
            fed=counts[:size],
            ttl_s=session.ttl_s,
            created=session.created,
            latest_consumed=session.consumed if is_ahead else 0,
            latest=residency.state_of(session) if is_ahead else None,
        )

    def put_in(
        self,
        content: Content,
        *,
        seed: int | None = None,
        ttl_s: float | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Make a session of what ``take_out`` gave, here or elsewhere.

        Args:
            content: checked for this server's bundle.
            seed: seed of its draws; None keeps that of the content.
            ttl_s: idle time to keep it for; None keeps that of the content.
            session_id: its id, if it has one already; a session here with that id is replaced.

        Raises:
            SessionBusy: a stream runs on the session to be replaced.
            SnapshotMismatch: its bundle was unloaded in the meantime.
            SlotsExhausted: nothing was done.
        """
        lane = self._lanes.get(content.host.key)
        if lane is None or lane.is_leaving:
            raise SnapshotMismatch(f"the bundle {content.host.model!r} that it belongs to was unloaded")
        if session_id and session_id in self._table:
            self.remove(self._table.find(session_id, content.owner))  # which is room enough
        else:
            self._make_room(lane, 1, content.owner)
        is_zero = not content.consumed and np.array_equal(content.state, lane.residency.initial)
        state = None if is_zero else content.state.tobytes()
        anchor = ORIGIN if state is None else Checkpoint(content.consumed, state)
        history = History.begin_at(
            anchor,
            np.concatenate([content.fed, content.generated]).astype(np.uint32),
            content.pending,
            form=lane.form,
            reach=self._settings.rewind_tokens,
        )
        consumed = content.consumed
        if content.latest is not None:
            consumed, state = content.latest_consumed, content.latest.tobytes()
        return self._add(
            lane,
            history,
            consumed,
            state,
            seed=content.seed if seed is None else seed,
            ttl_s=min(content.ttl_s, self._settings.max_session_ttl_s) if ttl_s is None else ttl_s,
            owner=content.owner,
            created=content.created if session_id else None,
            session_id=session_id,
        )

    def remove(self, session: Session) -> None:
        """End a session.

        Raises:
            SessionBusy: a stream runs on it.
        """
        if session.row:
            raise SessionBusy
        self._table.remove(session)
        self._forget(session)

    def use(self, session: Session) -> None:
        """Note that a session is used: its expiry is postponed, it is evicted later than others."""
        now = self._clock()
        session.use(now)
        if session.expires <= now:
            self._table.hasten(session)  # its last stream went on for longer than it may live
        self._holdings[session.lane].use(session, now)

    def expire(self) -> int:
        """End the sessions that were idle for too long; return how many."""
        gone = self._table.expire(self._clock())
        for session in gone:
            self._forget(session)
        if gone:
            self.on_expired(len(gone))
        return len(gone)

    def seconds_to_expiry(self) -> float | None:
        """Return the seconds until ``expire`` may have something to do, or None."""
        deadline = self._table.next_deadline()
        return None if deadline is None else max(0.0, deadline - self._clock())

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
            rewindable_from=session.history.start,
            tier=self._lanes[session.lane].residency.tier_of(session),
            ttl_s=session.ttl_s,
            epoch=session.epoch,
        )

    def _add(
        self,
        lane: Lane,
        history: History,
        consumed: int = 0,
        state: bytes | None = None,
        *,
        seed: int | None,
        ttl_s: float | None,
        owner: str,
        created: float | None = None,
        session_id: str | None = None,
    ) -> Session:
        now = self._clock()
        session = Session(
            id=session_id or make_session_id(self._origin.mark),
            serial=next(self._origin.serials),
            model=lane.bundle.name,
            lane=lane.key,
            seed=make_seed() if seed is None else seed,
            history=history,
            ttl_s=self._settings.session_ttl_s if ttl_s is None else ttl_s,
            created=time.time() if created is None else created,
            ends=now + self._settings.max_session_age_s - (max(0.0, time.time() - created) if created else 0.0),
            expires=now,
            consumed=consumed,
            owner=owner,
        )
        session.use(now)
        lane.residency.put(session, state)
        lane.sessions += 1
        self._owned[owner] += 1
        self._table.add(session)
        self._holdings[lane.key].add(session, now)
        return session

    def _make_room(self, lane: Lane, number: int, owner: str, *, sparing: Session | None = None) -> None:
        """Give up idle sessions for new ones of a tenant: as many as are needed, or none.

        Raises:
            SlotsExhausted: not enough may be given up.
        """
        self.expire()
        limits, state_bytes = self._settings, lane.residency.state_bytes
        given_up = self._holdings[lane.key].choose(
            lane.sessions + number - limits.max_sessions,
            state_bytes - limits.session_memory_mib * 2**20 + 1,
            owner=owner,
            making=number,
            now=self._clock(),
            sparing=sparing,
        )
        if given_up is None:
            raise SlotsExhausted(
                f"{lane.bundle.name!r} has {lane.sessions} sessions of {limits.max_sessions} and"
                f" {state_bytes >> 20} MiB of states and histories of {limits.session_memory_mib}; not enough of yours,"
                f" or of tenants that have more, were idle for {limits.evict_after_s:g} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        for session in given_up:
            self._table.remove(session, SessionEvicted)
            self._forget(session)
            self.on_evicted()

    def _forget(self, session: Session) -> None:
        lane = self._lanes[session.lane]
        lane.residency.release(session)
        lane.sessions -= 1
        self._owned[session.owner] -= 1
        if not self._owned[session.owner]:
            del self._owned[session.owner]
        self._holdings[lane.key].remove(session)


def check_position(position: int, expected: int | None) -> None:
    """Refuse to act on a session that moved on.

    Raises:
        PositionMismatch: saying where it is.
    """
    if expected is not None and expected != position:
        raise PositionMismatch(f"expected_position is {expected}, the session is at {position}", position=position)

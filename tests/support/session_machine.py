"""The owners of sessions in an engine with little room, and what holds whatever they do in whatever order.

What a session is fed, and what must come of it, is up to the machines of the tests: one of text, one of every other
shape.
"""

from abc import abstractmethod
from collections.abc import Sized
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar, Generic, Protocol, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.loop import Clock
from tests.support.snapshots import KEYS
from unrolled_service.engine import Engine
from unrolled_service.errors import (
    RewindOutOfRange,
    SessionBusy,
    SessionEvicted,
    SessionExpired,
    SessionNotFound,
    SlotsExhausted,
    UnrolledError,
)
from unrolled_service.lanes.lane import Lane
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session, Tier
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content, encode, open_snapshot

REACH = 16
SESSIONS, SLOTS, STREAMS = 7, 4, 2
AGE_S = 120.0

whose = st.integers(0, SESSIONS - 1)
seeds = st.integers(0, 2**32 - 1)
given_seeds = st.lists(st.none() | seeds, min_size=1, max_size=5)
slices = st.sampled_from((4, 0, 1, 10))


class Talk(Protocol):
    """A call that runs on a session."""

    @property
    def row(self) -> Row: ...


Past = TypeVar("Past", bound=Sized)
Talking = TypeVar("Talking", bound=Talk)


@dataclass
class Known(Generic[Past, Talking]):
    """A session as its owner knows it.

    Attributes:
        past: what it was fed and its owner heard, before the call that runs.
        floor: how far it can be rewound.
        ends: when it is too old, however much it is used.
        used: number of its last use among all uses.
        talk: the call that runs.
    """

    id: str
    seed: int
    past: Past
    floor: int
    ttl_s: float
    ends: float
    used: int = 0
    expires: float = 0.0
    talk: Talking | None = None


@dataclass
class Blob(Generic[Past, Talking]):
    """A session that was taken out: its bytes, and what it was then."""

    data: bytes
    known: Known[Past, Talking]
    floor: int


class SessionMachine(RuleBasedStateMachine, Generic[Past, Talking]):
    """An engine with little room, against what the owners of sessions know.

    Attributes:
        served: the bundle.
        ahead: how many inputs a session's history needs beyond a kept state: 1 where it feeds itself.
    """

    served: ClassVar[Bundle]
    ahead: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.known: dict[str, Known[Past, Talking]] = {}
        self.gone: dict[str, type[UnrolledError]] = {}
        self.blobs: list[Blob[Past, Talking]] = []
        self.uses = count(1)

    def open(self, max_steps: int, credit: int) -> None:
        """Make the engine; to be called first."""
        self.settings = Settings(
            max_steps=max_steps,
            credit=credit,
            max_sessions=SESSIONS,
            slots=SLOTS,
            max_streams=STREAMS,
            max_rows=2,
            rewind_tokens=REACH,
            evict_after_s=0,
            max_session_age_s=AGE_S,
            engine_threads=1,
        )
        self.engine = Engine([self.served], self.settings, self.clock)

    # What the machines of the tests say.

    @abstractmethod
    def begin_past(self) -> Past:
        """Return the past of a session that was fed nothing."""

    @abstractmethod
    def heard(self, known: Known[Past, Talking]) -> Past:
        """Return the past of a session together with what was heard of its call."""

    @abstractmethod
    def cut(self, past: Past, position: int) -> Past:
        """Return a copy of a past as it was at a position."""

    @abstractmethod
    def check_content(self, known: Known[Past, Talking], content: Content) -> None:
        """Fail unless a snapshot has what its session was fed."""

    @abstractmethod
    def check_state(self, known: Known[Past, Talking], session: Session) -> None:
        """Fail unless a session's state is what follows from its past."""

    def seed_of(self, number: int) -> int:
        """Return the seed that a number stands for."""
        return number

    def hear_the_end(self, known: Known[Past, Talking]) -> None:
        """Take in how a call ended that the engine has let go of."""

    # What owners do.

    @rule(seed=seeds, ttl_s=st.sampled_from((50.0, 500.0)))
    def create(self, seed: int, ttl_s: float) -> None:
        seed = self.seed_of(seed)
        if self.make_room(1):
            self.learn(self.engine.create_session("", seed=seed, ttl_s=ttl_s), seed, self.begin_past(), 0, ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.create_session("", seed=seed, ttl_s=ttl_s)

    @rule(who=whose)
    def close(self, who: int) -> None:
        if (known := self.pick(who)) and known.talk:
            self.engine.close(known.talk.row)
            self.end_talk(known)

    def make_forks(self, who: int, given: list[int | None]) -> None:
        known = self.look_up(who)
        if known is None:
            return
        given = [seed if seed is None else self.seed_of(seed) for seed in given]
        self.use(known)
        if not self.make_room(len(given), sparing=known):
            with pytest.raises(SlotsExhausted):
                self.engine.fork_session(known.id, given)
            return
        past = self.heard(known)
        copies = self.engine.fork_session(known.id, given, expected=len(past))
        for copy, seed in zip(copies, given, strict=True):
            own = known.seed if seed is None else seed
            self.learn(copy, own, self.cut(past, len(past)), known.floor, known.ttl_s)

    @rule(who=whose, back=st.none() | st.integers(0, 60))
    def rewind(self, who: int, back: int | None) -> None:
        """Go some inputs back; None goes to where the kept state is, which is then of no use."""
        known = self.look_up(who)
        if known is None:
            return
        now = len(self.heard(known))
        if back is None:
            position = self.engine.session(known.id).consumed
        else:
            position = max(0, now - back % (now - known.floor + 2))
        if known.talk:
            with pytest.raises(SessionBusy):
                self.engine.rewind_session(known.id, position)
        elif position < known.floor:
            with pytest.raises(RewindOutOfRange):
                self.engine.rewind_session(known.id, position)
        else:
            self.engine.rewind_session(known.id, position, expected=now)
            known.past = self.cut(known.past, position)
            self.use(known)

    @rule(who=whose)
    def take_out(self, who: int) -> None:
        if known := self.look_up(who):
            past = self.heard(known)
            content = self.engine.take_out_session(known.id, expected=len(past))
            self.check_content(known, content)
            floor = self.engine.session(known.id).history.start
            assert floor == (content.consumed + self.ahead if content.consumed else 0)
            then = replace(known, past=self.cut(past, len(past)), talk=None)
            self.blobs.append(Blob(encode(content, KEYS), then, floor))

    @rule(which=st.integers(0, 100), is_fresh=st.booleans(), seed=st.none() | seeds, under_its_id=st.booleans())
    def put_in(self, which: int, is_fresh: bool, seed: int | None, under_its_id: bool) -> None:
        if is_fresh:
            self.take_out(which)
        if not self.blobs:
            return
        blob = self.blobs[-1 if is_fresh else which % len(self.blobs)]
        content = open_snapshot(blob.data, KEYS, owner="").unpack([self.served.host], accept_other_numerics=False)
        session_id = blob.known.id if under_its_id else None
        seed = None if under_its_id or seed is None else self.seed_of(seed)
        replaced = self.known.get(session_id or "")
        if replaced and replaced.talk:
            with pytest.raises(SessionBusy):
                self.engine.registry.put_in(content, session_id=session_id)
        elif replaced or self.make_room(1):
            session = self.engine.registry.put_in(content, seed=seed, session_id=session_id)
            then = blob.known
            past = self.cut(then.past, len(then.past))
            self.learn(session, then.seed if seed is None else seed, past, blob.floor, then.ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.registry.put_in(content, seed=seed, session_id=session_id)

    @rule(who=whose)
    def delete(self, who: int) -> None:
        known = self.look_up(who)
        if known is None:
            return
        if known.talk:
            with pytest.raises(SessionBusy):
                self.engine.delete_session(known.id)
        else:
            self.engine.delete_session(known.id, expected=len(known.past))
            self.lose(known, SessionNotFound)

    # What happens to them.

    @rule(who=whose)
    def pack(self, who: int) -> None:
        if (known := self.look_up(who)) and known.talk is None:
            self.lane.residency.pack(self.engine.session(known.id))

    @rule(seconds=st.sampled_from((1.0, 30.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        for known in list(self.known.values()):
            if known.talk is None and known.expires <= self.clock.now:
                self.lose(known, SessionExpired)

    @rule()
    def restart(self) -> None:
        self.known, self.gone = {}, dict.fromkeys([*self.known, *self.gone], SessionNotFound)
        self.engine = Engine([self.served], self.settings, self.clock)

    # What must hold.

    @invariant()
    def what_is_counted_adds_up(self) -> None:
        sessions = self.engine.registry.page(0, 100)
        residency = self.lane.residency
        assert {session.id for session in sessions} == {*self.known}
        assert self.lane.sessions == len(self.engine.registry) == len(self.known)
        assert self.engine.streams == self.talks
        slots = [session.slot for session in sessions if session.slot is not None]
        assert len(set(slots)) == len(slots) == residency.arena.slots_in_use <= SLOTS
        assert residency.state_bytes == sum(
            session.counted_bytes  # a history that grows is counted now and then
            if session.row
            else (len(session.packed or b"") if session.slot is None else residency.arena.slot_bytes)
            + session.history.kept_bytes
            for session in sessions
        )

    @invariant()
    def every_session_is_where_it_should_be(self) -> None:
        for session in self.engine.registry.page(0, 100):
            known = self.known[session.id]
            told = self.engine.registry.describe(session)
            assert told.position == session.position == len(self.heard(known))
            assert told.is_busy == (known.talk is not None)
            assert told.seed == known.seed
            assert session.slot is not None or not told.is_busy
            assert told.tier is (Tier.PACKED if session.slot is None else Tier.RESIDENT)
            self.check_state(known, session)
            self.check_floor(known, told.rewindable_from)

    def teardown(self) -> None:
        """Ask for the sessions that are gone, and end the calls of the others."""
        for session_id, reason in self.gone.items():
            with pytest.raises(reason):
                self.engine.session(session_id)
        for known in list(self.known.values()):
            if known.talk:
                self.engine.close(known.talk.row)
                self.end_talk(known)

    # The owners' side.

    @property
    def lane(self) -> Lane:
        return self.engine.lanes[self.served.name]

    @property
    def talks(self) -> int:
        """How many calls run."""
        return sum(known.talk is not None for known in self.known.values())

    def pick(self, who: int) -> Known[Past, Talking] | None:
        return list(self.known.values())[who % len(self.known)] if self.known else None

    def look_up(self, who: int) -> Known[Past, Talking] | None:
        """Pick a session and look it up, which ends a call on it that is over."""
        known = self.pick(who)
        if known is None:
            return None
        session = self.engine.session(known.id)
        if known.talk and known.talk.row.is_closed:
            self.hear_the_end(known)
            self.end_talk(known)
        self.check_floor(known, session.history.start)
        return self.known.get(known.id)

    def check_floor(self, known: Known[Past, Talking], floor: int) -> None:
        """Let the server forget what lies behind the reach of rewinds, and nothing else."""
        assert floor == known.floor or len(self.heard(known)) - floor >= REACH
        known.floor = floor

    def end_talk(self, known: Known[Past, Talking]) -> None:
        known.past, known.talk = self.heard(known), None
        self.use(known)
        if known.expires <= self.clock.now:
            self.lose(known, SessionExpired)

    def use(self, known: Known[Past, Talking]) -> None:
        known.used = next(self.uses)
        known.expires = min(self.clock.now + known.ttl_s, known.ends)

    def lose(self, known: Known[Past, Talking], reason: type[UnrolledError]) -> None:
        del self.known[known.id]
        self.gone[known.id] = reason

    def make_room(self, number: int, *, sparing: Known[Past, Talking] | None = None) -> bool:
        """Foresee who is given up for new sessions; return whether there will be room."""
        idle = sorted((each for each in self.known.values() if each.talk is None), key=lambda each: each.used)
        idle = [each for each in idle if each is not sparing]
        excess = max(0, len(self.known) + number - SESSIONS)
        if excess > len(idle):
            return False
        for known in idle[:excess]:
            self.lose(known, SessionEvicted)
        return True

    def learn(self, session: Session, seed: int, past: Past, floor: int, ttl_s: float) -> None:
        known: Known[Past, Talking] = Known(session.id, seed, past, floor, ttl_s, self.clock.now + AGE_S)
        self.known[session.id] = known
        self.gone.pop(session.id, None)
        self.use(known)

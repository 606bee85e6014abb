"""Whose sessions make room, against a reference that looks at all of them every time."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from unrolled_service.rows.row import Row
from unrolled_service.sessions.history import Format, History
from unrolled_service.sessions.holdings import Holdings
from unrolled_service.sessions.session import Session

TENANTS = ("ada", "bob", "eve", "")
MAX_SESSIONS, MAX_BYTES = 10, 1000

owners = st.sampled_from(TENANTS)
sizes = st.sampled_from((0, 1, 100, 600))
which = st.integers(0, 1000)


def make_session(owner: str, size: int) -> Session:
    history = History(Format(26), 16)
    session = Session(
        id="", serial=0, model="m", seed=0, history=history, ttl_s=1.0, created=0.0, ends=1.0, expires=1.0
    )
    session.owner, session.counted_bytes = owner, size
    return session


@dataclass
class Known:
    """A session as the reference knows it: since when it is idle, None while it is busy, and how large it was then."""

    session: Session
    since: float | None
    size: int


class HoldingsMachine(RuleBasedStateMachine):
    """Sessions of a few tenants; the clock ticks with every event."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Known] = []
        self.now = 0.0

    @initialize(idle_s=st.sampled_from((0.0, 3.0, 6.0)))
    def start(self, idle_s: float) -> None:
        self.idle_s = idle_s
        self.holdings = Holdings(MAX_SESSIONS, MAX_BYTES, idle_s)

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    @rule(owner=owners, size=sizes)
    def add(self, owner: str, size: int) -> None:
        session = make_session(owner, size)
        self.holdings.add(session, self.tick())
        self.known.append(Known(session, self.now, size))

    @precondition(lambda self: self.known)
    @rule(which=which, size=sizes, is_busy=st.booleans())
    def use(self, which: int, size: int, is_busy: bool) -> None:
        known = self.known[which % len(self.known)]
        known.session.row = object.__new__(_Busy) if is_busy else None
        known.session.counted_bytes = known.size = size
        known.since = None if is_busy else self.tick()
        self.holdings.use(known.session, self.now)

    @precondition(lambda self: self.known)
    @rule(which=which, size=sizes)
    def grow(self, which: int, size: int) -> None:
        """Change a session's size, which nobody is told before it is used."""
        self.known[which % len(self.known)].session.counted_bytes = size

    @precondition(lambda self: self.known)
    @rule(which=which)
    def remove(self, which: int) -> None:
        known = self.known.pop(which % len(self.known))
        self.holdings.remove(known.session)

    @rule(
        number=st.integers(-3, 4),
        size=st.sampled_from((-5, 0, 1, 150, 700)),
        owner=owners,
        making=st.integers(1, 3),
        is_sparing=st.booleans(),
        is_done=st.booleans(),
    )
    def choose(self, number: int, size: int, owner: str, making: int, is_sparing: bool, is_done: bool) -> None:
        sparing = None
        if is_sparing and (mine := [each for each in self.known if each.session.owner == owner]):
            sparing = mine[0].session
            self.use(self.known.index(mine[0]), mine[0].size, is_busy=False)
        chosen = self.holdings.choose(number, size, owner=owner, making=making, now=self.now, sparing=sparing)
        assert chosen == self.foresee(number, size, owner, making, sparing)
        for session in chosen or () if is_done else ():
            self.remove([each.session for each in self.known].index(session))

    def foresee(self, number: int, size: int, owner: str, making: int, sparing: Session | None) -> list[Session] | None:
        left, chosen = [*self.known], []

        def part(whose: str, more: int = 0) -> float:
            held = [each.size for each in left if each.session.owner == whose]
            return max((len(held) + more) / MAX_SESSIONS, sum(held) / MAX_BYTES)

        while number > 0 or size > 0:
            asked = part(owner, making)
            ripe = [
                (-part(each.session.owner), each.since, each.session.owner == owner, each.session)
                for each in left
                if each.since is not None and each.since <= self.now - self.idle_s and each.session is not sparing
            ]
            eligible = [each for each in ripe if -each[0] >= asked] or [each for each in ripe if each[2]]
            if not eligible:
                return None
            *_, first = min(eligible)
            chosen.append(first)
            left = [each for each in left if each.session is not first]
            number, size = number - 1, size - first.counted_bytes
        return chosen

    @invariant()
    def it_knows_who_is_idle(self) -> None:
        idle = [each.session for each in self.known if each.since is not None]
        assert sorted(map(id, self.holdings)) == sorted(map(id, idle))


class _Busy(Row):
    steps_left = 0

    def tell(self, now: float) -> None:
        """Say nothing."""


TestHoldings = HoldingsMachine.TestCase
TestHoldings.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_what_is_queued_does_not_grow_with_what_happens() -> None:
    holdings = Holdings(MAX_SESSIONS, MAX_BYTES, 6.0)
    old, new = make_session("ada", 0), make_session("ada", 0)
    holdings.add(old, 0.0)
    holdings.add(new, 1.0)
    for now in range(1, 10_000):
        assert holdings.choose(1, 0, owner="ada", making=1, now=now + 6.0) == [old]
        holdings.use(new, now + 6.0)

    assert len(holdings._queue) < 1100

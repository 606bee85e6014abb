"""Whose sessions of a bundle are given up to make room for others.

What a tenant holds is the larger of its parts of the sessions and of the bytes that there may be (dominant resource
fairness, Ghodsi et al., NSDI 2011). Who holds most loses first, the session that was idle for longest; nobody loses
any to a tenant that would hold more. With one tenant that is the order of idleness. Every operation takes O(log n),
amortised. Runs on the engine's thread.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from unrolled_service.sessions.session import Session

_ENTRIES_KEPT = 1024
_RIPENED_AT_ONCE = 4  # so that there is not much left to do when room is needed


@dataclass(slots=True, eq=False)
class _Holding:
    """What a tenant has.

    Attributes:
        sessions: how many.
        bytes: theirs, as of the last use of each.
        ripe: those that may be given up, with the moments since which they are idle, the longest first.
        entry: number of the entry that counts for it among all that were queued.
    """

    sessions: int = 0
    bytes: int = 0
    ripe: OrderedDict[Session, float] = field(default_factory=OrderedDict)
    entry: int = 0


class Holdings:
    """The sessions of a bundle, tenant by tenant.

    Args:
        max_sessions: how many there may be.
        max_bytes: how large they may be together.
        idle_s: for how long a session must be idle to be given up.
    """

    def __init__(self, max_sessions: int, max_bytes: int, idle_s: float) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._of: dict[str, _Holding] = {}
        self._noted: dict[Session, int] = {}
        self._fresh: OrderedDict[Session, float] = OrderedDict()  # idle, but not for long enough as far as is known
        self._queue: list[tuple[float, float, int, _Holding]] = []  # who holds most first; old entries stay for a while
        self._entries = count(1)

    def __iter__(self) -> Iterator[Session]:
        """Yield the idle sessions."""
        for holding in self._of.values():
            yield from holding.ripe
        yield from self._fresh

    def add(self, session: Session, now: float) -> None:
        """Take in a session that is idle from now on."""
        self._noted[session] = 0
        self._of.setdefault(session.owner, _Holding()).sessions += 1
        self.use(session, now)

    def use(self, session: Session, now: float) -> None:
        """Note that a session is used: it is idle from now on, or not at all while a stream runs on it."""
        self._ripen(now, _RIPENED_AT_ONCE)
        holding = self._withdraw(session)
        if session.row is None:
            self._fresh[session] = now
        holding.bytes += session.counted_bytes - self._noted[session]
        self._noted[session] = session.counted_bytes
        self._enqueue(holding)

    def remove(self, session: Session) -> None:
        """Forget a session."""
        holding = self._withdraw(session)
        holding.sessions -= 1
        holding.bytes -= self._noted.pop(session)
        if not holding.sessions:
            del self._of[session.owner]
        self._enqueue(holding)

    def choose(
        self,
        number: int,
        size: int,
        *,
        owner: str,
        making: int,
        now: float,
        sparing: Session | None = None,
    ) -> list[Session] | None:
        """Return the sessions to give up, so that there is room; None if too few may be. They stay until removed.

        Args:
            number: how many sessions are too many.
            size: how many bytes are too many.
            owner: the tenant for which there is made room.
            making: how many sessions it is to get.
            now: engine time.
            sparing: one that is not given up, though it is idle; it was the last to be used.
        """
        spared_since = self._fresh.pop(sparing, None) if sparing else None
        self._ripen(now, len(self._fresh))
        chosen: list[tuple[Session, float]] = []
        own = self._of.get(owner) or _Holding()
        while number > 0 or size > 0:
            holding = self._largest()
            if holding is None or self._part(holding) < self._part(own, making):
                holding = own
            if not holding.ripe:
                break
            chosen.append(holding.ripe.popitem(last=False))
            self._resize(holding, -1, chosen[-1][0])
            number -= 1
            size -= chosen[-1][0].counted_bytes
        for session, since in reversed(chosen):
            holding = self._of[session.owner]
            holding.ripe[session] = since
            holding.ripe.move_to_end(session, last=False)
            self._resize(holding, 1, session)
        if sparing and spared_since is not None:
            self._fresh[sparing] = spared_since
        return None if number > 0 or size > 0 else [session for session, _ in chosen]

    def _resize(self, holding: _Holding, sign: int, session: Session) -> None:
        holding.sessions += sign
        holding.bytes += sign * self._noted[session]
        self._enqueue(holding)

    def _withdraw(self, session: Session) -> _Holding:
        """Take a session out of where the idle ones are."""
        holding = self._of[session.owner]
        self._fresh.pop(session, None)
        holding.ripe.pop(session, None)
        return holding

    def _ripen(self, now: float, limit: int) -> None:
        """Let those be given up that are idle for long enough, the longest first, so many at most."""
        while self._fresh and limit:
            session, since = next(iter(self._fresh.items()))
            if since > now - self._idle_s:
                break
            limit -= 1
            del self._fresh[session]
            holding = self._of[session.owner]
            holding.ripe[session] = since
            if len(holding.ripe) == 1:
                self._enqueue(holding)

    def _part(self, holding: _Holding, making: int = 0) -> float:
        return max((holding.sessions + making) / self._max_sessions, holding.bytes / self._max_bytes)

    def _enqueue(self, holding: _Holding) -> None:
        """Queue a holding that changed anew."""
        holding.entry = next(self._entries)
        if not holding.ripe:
            return
        heapq.heappush(self._queue, self._entry(holding))
        if len(self._queue) > 2 * len(self._of) + _ENTRIES_KEPT:  # most of them old
            self._queue = [self._entry(each) for each in self._of.values() if each.ripe]
            heapq.heapify(self._queue)

    def _entry(self, holding: _Holding) -> tuple[float, float, int, _Holding]:
        return -self._part(holding), next(iter(holding.ripe.values())), holding.entry, holding

    def _largest(self) -> _Holding | None:
        """Return the largest holding that has a session to give up."""
        while self._queue and self._queue[0][2] != self._queue[0][3].entry:
            heapq.heappop(self._queue)
        return self._queue[0][3] if self._queue else None

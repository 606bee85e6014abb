"""What sessions do to replicas and their store: who has a session, who writes it when, what a failure moves.

Sessions do not wait for each other here: it counts calls, moves and writes, not seconds of a busy server.
"""

import math
from bisect import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from deploy.scaling.maglev import Maglev

Outages = Mapping[str, tuple[float, float]]
"""When a replica is away: from and until, seconds."""


@dataclass(frozen=True)
class Traffic:
    """What callers do.

    Attributes:
        sessions: that are used, each by one caller.
        talk_s: how long a stream takes.
        think_s: mean pause between two streams of a session, exponential; the first one is before the first stream.
        interval_s: between two writes of a session while a stream runs (``store_interval_s``).
    """

    sessions: int
    talk_s: float
    think_s: float
    interval_s: float = 1.0


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        streams: calls by replica, with those that take over.
        claims: times that a replica asked the store for a session.
        writes: times that a session was written.
        moves: claims by another replica than the one before.
        cut: streams that lost their replica and went on at another.
        store_operations: claims and writes by second.
    """

    streams: Counter[str] = field(default_factory=Counter)
    claims: int = 0
    writes: int = 0
    moves: int = 0
    cut: int = 0
    store_operations: Counter[int] = field(default_factory=Counter)

    def claim(self, at: float) -> None:
        """Count a claim."""
        self.claims += 1
        self.store_operations[int(at)] += 1

    def write(self, at: float) -> None:
        """Count a write."""
        self.writes += 1
        self.store_operations[int(at)] += 1


class Simulation:
    """Sessions on replicas behind a balancer that sees at once who is away.

    Args:
        replicas: their addresses.
        outages: by address.
    """

    def __init__(self, replicas: list[str], outages: Outages) -> None:
        self._outages = outages
        self._borders = sorted({at for outage in outages.values() for at in outage})
        self._tables = [
            Maglev([each for each in replicas if not self._is_away(each, at)]) for at in (-math.inf, *self._borders)
        ]

    def run(self, traffic: Traffic, seconds: float, *, ids: list[str] | None = None, seed: int = 0) -> Outcome:
        """Let time pass.

        Args:
            traffic: what callers do.
            seconds: how long; streams that have begun come to their end.
            ids: of the sessions; drawn where they are not given.
            seed: of everything that is drawn.
        """
        random, outcome = Random(seed), Outcome()
        for session_id in ids or [f"{random.getrandbits(128):032x}" for _ in range(traffic.sessions)]:
            holder = ""
            at = random.expovariate(1 / traffic.think_s)
            while at < seconds:
                holder, at = self._talk(session_id, holder, at, traffic, outcome)
                at += random.expovariate(1 / traffic.think_s)
        return outcome

    def table(self, at: float) -> Maglev:
        """Return the table of the replicas that are there at a time."""
        return self._tables[bisect(self._borders, at)]

    def _talk(self, session_id: str, holder: str, at: float, traffic: Traffic, outcome: Outcome) -> tuple[str, float]:
        """Let a stream run to its end, over as many replicas as it takes; return the last one, and when."""
        end = at + traffic.talk_s
        while True:
            replica = self.table(at).place(session_id)
            outcome.moves += holder not in ("", replica)
            outcome.streams[replica] += 1
            outcome.claim(at)
            holder = replica
            lost = self._lost(replica, at, end)
            for beat in range(1, int((min(lost, end) - at) / traffic.interval_s) + 1):
                outcome.write(at + beat * traffic.interval_s)
            if lost >= end:
                outcome.write(end)
                return holder, end
            outcome.cut += 1
            at = lost

    def _lost(self, replica: str, at: float, end: float) -> float:
        """Return when a replica goes away; the end if it does not before."""
        since, _ = self._outages.get(replica, (end, end))
        return since if at < since < end else end

    def _is_away(self, replica: str, at: float) -> bool:
        since, until = self._outages.get(replica, (0.0, 0.0))
        return since <= at < until

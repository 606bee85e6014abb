"""Which of several servers a call goes to. It neither calls nor waits; any thread may use it.

Rendezvous hashing: a session's servers in order are those with the highest hash of its id and their address, so every
client that knows the same addresses knows the same order, and a server that comes or goes moves its own sessions alone.
The first one in order that is not set aside is called. Set aside is one that could not be reached or that drains, until
its health service says that it serves. Calls without a session go from server to server.

A session that is in no store is called where it was made, whatever becomes of that: nobody else has it.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import count
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

from unrolled_client.errors import Draining, Unreachable, UnrolledError
from unrolled_client.values import SessionInfo

LOST = (Unreachable, Draining)
PROBE_INTERVAL_S = 0.25
MAX_BOUND = 65_536  # sessions in no store that are remembered; the oldest are forgotten first


class Placement:
    """The servers of a client, by their place in its list.

    Args:
        targets: their addresses, all different.
        clock: tells the time in seconds.
    """

    def __init__(self, targets: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._targets = [target.encode() for target in targets]
        self._clock = clock
        self._lock = threading.Lock()
        self._turns = count(random.randrange(len(targets)))  # no secret  # noqa: S311  # nosec B311
        self._lost_at: dict[int, float] = {}
        self._probed_at: dict[int, float] = {}
        self._bound: OrderedDict[str, int] = OrderedDict()
        self._calls: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def choose(self, key: str | None) -> int:
        """Return the server for a call.

        Args:
            key: the session's id, or what a repetition of the call is known by; None: any server will do.
        """
        if len(self._targets) == 1:
            return 0
        with self._lock:
            return self._choose(key)

    def can_move(self, key: str | None, error: UnrolledError) -> bool:
        """Tell whether a call that failed because its server is lost would meet another one at once."""
        if len(self._targets) == 1 or not isinstance(error, LOST):
            return False
        with self._lock:
            return self._choose(key) not in self._lost_at

    def note_call(self, call: Any, server: int) -> None:
        """Remember where a call was made."""
        with self._lock:
            self._calls[call] = server

    def note_error(self, call: Any, error: UnrolledError) -> None:
        """Set a call's server aside if the error says that it is lost."""
        with self._lock:
            server = self._calls.pop(call, None)
            if server is not None and len(self._targets) > 1 and isinstance(error, LOST):
                self._lost_at[server] = self._clock()

    def note_sessions(self, call: Any, sessions: Iterable[SessionInfo]) -> None:
        """Take in what a call's server said of sessions."""
        with self._lock:
            server = self._calls.pop(call, None)
            for session in sessions if server is not None else ():
                self._bound.pop(session.id, None)
                if not session.is_stored and server is not None:
                    self._bound[session.id] = server
            while len(self._bound) > MAX_BOUND:
                self._bound.popitem(last=False)

    def begin_probes(self) -> list[int]:
        """Return the servers set aside whose health is to be asked for now; `end_probe` is to follow for each."""
        if not self._lost_at:
            return []
        with self._lock:
            due_s = self._clock() - PROBE_INTERVAL_S
            due = [server for server in self._lost_at if self._probed_at.get(server, -inf) <= due_s]
            self._probed_at.update(dict.fromkeys(due, inf))
            return due

    def end_probe(self, server: int, *, is_serving: bool) -> None:
        """Take in what a server's health service said."""
        with self._lock:
            self._probed_at[server] = self._clock()
            if is_serving:
                self._lost_at.pop(server, None)

    def _choose(self, key: str | None) -> int:
        bound = self._bound.get(key) if key is not None else None
        if bound is not None:
            return bound
        # Where all are lost: the one that was for longest, so that attempts go round.
        return min(self._order(key), key=lambda server: self._lost_at.get(server, -inf))

    def _order(self, key: str | None) -> Sequence[int]:
        servers = range(len(self._targets))
        if key is None:
            turn = next(self._turns) % len(servers)
            return [*servers[turn:], *servers[:turn]]
        return sorted(servers, key=lambda server: _weight(key, self._targets[server]), reverse=True)


def _weight(key: str, target: bytes) -> bytes:
    return blake2b(key.encode() + b"\0" + target, digest_size=8).digest()

"""Where the states of sessions are: in the arena while they are used, packed while they are not.

Using a session brings it back; the one that was unused for longest makes room. Runs on the engine's thread.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from unrolled_service.arena import Arena, Floats
from unrolled_service.session import Session


class Residency:
    """The states of a bundle's sessions.

    Args:
        initial: f32[S], the state at position 0.
        slots: how many sessions can be resident; at least as many as can be busy at once.
    """

    def __init__(self, initial: Floats, slots: int) -> None:
        self.arena = Arena(len(initial), slots)
        self._initial = initial
        self._idle: OrderedDict[Session, None] = OrderedDict()

    def state_of(self, session: Session) -> Floats:
        """Return a session's state, f32[S], not to be written to."""
        if session.slot is not None:
            return self.arena.read(session.slot)
        return self._initial if session.packed is None else session.packed

    def bring_in(self, session: Session) -> None:
        """Make a session resident that is about to be used."""
        if session.slot is None:
            if not self.arena.can_acquire():
                self.pack(next(iter(self._idle)))
            session.slot = self.arena.acquire()
            self.arena.write(session.slot, self._initial if session.packed is None else session.packed)
            session.packed = None
        self._idle.pop(session, None)

    def write(self, sessions: Sequence[Session], states: Floats) -> None:
        """Give resident sessions new states, f32[len(sessions), S]."""
        self.arena.write(np.array([session.slot for session in sessions], np.intp), states)

    def put(self, session: Session, state: Floats | None) -> None:
        """Give one session a state of its own, which nobody writes to any more; None for the zero state."""
        if session.slot is not None:
            self.arena.write(session.slot, self._initial if state is None else state)
        else:
            session.packed = state

    def rest(self, session: Session) -> None:
        """Note that a resident session is used no more; it stays until its place is needed."""
        self._idle[session] = None

    def pack(self, session: Session) -> None:
        """Take an idle session out of the arena."""
        if session.slot is not None:
            session.packed = self.arena.read(session.slot) if session.consumed else None
            self._free(session)

    def release(self, session: Session) -> None:
        """Forget an idle session's state."""
        session.packed = None
        if session.slot is not None:
            self._free(session)

    def _free(self, session: Session) -> None:
        if session.slot is not None:
            self.arena.release(session.slot)
            session.slot = None
        self._idle.pop(session, None)

"""Where the states of sessions are: in the arena while they are used, packed while they are not.

Using a session brings it back; the one that was unused for longest makes room. Every byte that is kept for a session is
counted, its history's too. Runs on the engine's thread.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from unrolled_service.graphs.state import Floats
from unrolled_service.sessions.arena import Arena
from unrolled_service.sessions.history import Checkpoint
from unrolled_service.sessions.session import Session, Tier


class Residency:
    """The states of a bundle's sessions.

    Args:
        initial: f32[S], the state at position 0.
        slots: how many sessions can be resident; at least as many as can be busy at once.

    Attributes:
        initial: f32[S], the state at position 0.
        state_bytes: bytes that are kept for sessions: states, resident or packed, and histories.
    """

    def __init__(self, initial: Floats, slots: int) -> None:
        self.arena = Arena(len(initial), slots)
        self.state_bytes = 0
        self.initial = initial
        self._resting: OrderedDict[Session, None] = OrderedDict()

    @staticmethod
    def tier_of(session: Session) -> Tier:
        """Return where a session's state is."""
        return Tier.PACKED if session.slot is None else Tier.RESIDENT

    def state_of(self, session: Session) -> Floats:
        """Return a session's state, f32[S], not to be written to."""
        if session.slot is not None:
            return self.arena.read(session.slot)
        return self.initial if session.packed is None else np.frombuffer(session.packed, np.float32)

    def count(self, session: Session) -> None:
        """Count a session's bytes as they are now, where its history grew."""
        size = len(session.packed or b"") if session.slot is None else self.arena.slot_bytes
        self._recount(session, size + session.history.kept_bytes)

    def bring_in(self, session: Session) -> None:
        """Make a session resident that is about to be used."""
        if session.slot is None:
            if not self.arena.can_acquire():
                self.pack(next(iter(self._resting)))
            state = self.state_of(session)
            session.slot, session.packed = self.arena.acquire(), None
            self.arena.write(session.slot, state)
            self.count(session)
        self._resting.pop(session, None)

    def write(self, sessions: Sequence[Session], states: Floats) -> None:
        """Give resident sessions new states, f32[len(sessions), S]."""
        self.arena.write(np.array([session.slot for session in sessions], np.intp), states)

    def put(self, session: Session, state: bytes | None) -> None:
        """Give one session, perhaps a new one, a state, f32[S] as bytes; None for the zero state."""
        if session.slot is not None:
            self.arena.write(session.slot, self.initial if state is None else np.frombuffer(state, np.float32))
        else:
            session.packed = state
        self.count(session)

    def begin(self, session: Session, state: Floats) -> None:
        """Give a session at position 0 a first state of its own, f32[S]."""
        session.history.begin(state.tobytes())
        self.put(session, state.tobytes())

    def keep(self, session: Session, checkpoint: Checkpoint) -> None:
        """Keep a state that a session can be rewound to."""
        session.history.keep(checkpoint)
        self.count(session)

    def rewind(self, session: Session, position: int) -> None:
        """Take an idle session back to a position from ``history.start`` to its end."""
        checkpoint = session.history.rewind(position)
        if not session.consumed < position:
            self.put(session, checkpoint.state)
            session.consumed = checkpoint.position
        self.count(session)

    def rest(self, session: Session) -> None:
        """Note that a resident session is used no more; it stays until its place is needed."""
        self._resting[session] = None
        self.count(session)

    def pack(self, session: Session) -> None:
        """Take an idle session out of the arena."""
        if session.slot is not None:
            state = None if session.is_untouched else self.arena.read(session.slot).tobytes()
            self._free(session)
            self.put(session, state)

    def release(self, session: Session) -> None:
        """Forget an idle session's states."""
        session.packed = None
        self._free(session)
        self._recount(session, 0)

    def _recount(self, session: Session, size: int) -> None:
        self.state_bytes += size - session.counted_bytes
        session.counted_bytes = size

    def _free(self, session: Session) -> None:
        if session.slot is not None:
            self.arena.release(session.slot)
            session.slot = None
        self._resting.pop(session, None)

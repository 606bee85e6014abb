"""What keeps sessions beyond the life of a server: claims of ownership and writes that cannot go wrong.

For a while two servers can believe that they own a session. Whoever claims it takes an epoch, one higher than
the owner's before; a write names its epoch and is refused once there is a higher one. A lease asks others to
wait, but nothing depends on it. This module owns the words and promises; it knows neither Redis nor the engine,
and to it a snapshot is bytes. Everything here runs on the event loop.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from unrolled_service.errors import SessionBusy, UnrolledError

MAX_SNAPSHOT_BYTES = 64 * 2**20


class Gone(StrEnum):
    """Why a session is no more."""

    DELETED = "deleted"
    EXPIRED = "expired"
    EVICTED = "evicted"


class Leased(SessionBusy):
    """Another server's lease of the session is running.

    Args:
        retry_after_s: seconds until it ends, unless it is renewed.
    """

    def __init__(self, retry_after_s: float) -> None:
        UnrolledError.__init__(self, "another server is working on the session", retry_after_s=retry_after_s)


@dataclass(frozen=True, slots=True)
class Claim:
    """An owner's hold on a session.

    Attributes:
        epoch: number of this ownership, from 1; to be named by every write.
        position: position of the stored state, in tokens.
        snapshot: the stored state, or None where the owner's own copy is the newest.
    """

    epoch: int
    position: int
    snapshot: bytes | None = field(repr=False)


class SessionStore(Protocol):
    """Sessions that outlive the server that works on them.

    An owner calls for one session at a time; of calls that overtake each other, only the latest counts, so that what
    was given up cannot take effect later. Times are the store's own, not those of its callers. Every method may raise
    ``StoreUnavailable``: whether the call took effect is then unknown, and it may be made again. A session that
    is gone raises ``SessionExpired`` or ``SessionEvicted`` while the store remembers why, else
    ``SessionNotFound``, as does an id that is none.
    """

    def of(self, tenant: str) -> "SessionStore":
        """Return the store as a tenant has it: the sessions of others do not exist there, and nothing touches them.

        Args:
            tenant: any text; empty for the store of those who are not told apart.
        """

    @property
    def is_available(self) -> bool:
        """Whether the store answered when it was last asked."""

    async def create(self, session_id: str, snapshot: bytes, position: int, *, ttl_s: float, lease_s: float) -> Claim:
        """Write a session for the first time.

        Args:
            session_id: 1 to 64 url-safe characters; new.
            snapshot: the state, at most 64 MiB.
            position: its position in tokens, from 0.
            ttl_s: idle time in seconds after which the session expires; it does not while a lease runs.
            lease_s: how long others shall wait, in seconds from now; 0: they need not.

        Raises:
            SessionMoved: the id is another session's, or this one went on since.
            ValueError: the snapshot is too large.
        """

    async def claim(self, session_id: str, *, lease_s: float, known_epoch: int = 0) -> Claim:
        """Take a session, or renew the lease of one that is held. With a lease it is a use of the session.

        Args:
            session_id: the session.
            lease_s: how long others shall wait, in seconds from now.
            known_epoch: epoch whose state the caller has; 0: none. If it still is the caller's, the lease is all that
                changes, and no snapshot comes back.

        Raises:
            Leased: another owner's lease runs.
        """

    async def write(
        self,
        session_id: str,
        *,
        epoch: int,
        position: int,
        snapshot: bytes,
        ttl_s: float,
        lease_s: float,
        rewound: bool = False,
    ) -> None:
        """Replace the state of a session that is still the caller's.

        Args:
            session_id: the session.
            epoch: the caller's.
            position: position of the new state in tokens, not before the stored one's.
            snapshot: the new state, at most 64 MiB.
            ttl_s: idle time in seconds after which the session expires.
            lease_s: how long others shall wait, in seconds from now; 0 releases the session with the same call.
            rewound: whether the session was moved back, so that the position may be any.

        Raises:
            SessionMoved: another owner has claimed the session since; nothing was written.
            PositionMismatch: the stored state is ahead and the session was not rewound; nothing was written.
            ValueError: the snapshot is too large.
        """

    async def release(self, session_id: str, *, epoch: int) -> None:
        """End the lease, so that others need not wait. Nothing happens unless the epoch is still the caller's."""

    async def delete(self, session_id: str, *, epoch: int | None = None, why: Gone = Gone.DELETED) -> None:
        """End a session, whoever owns it.

        Args:
            session_id: the session.
            epoch: the caller's; nothing happens unless it still is, or there is no such session. None: any.
            why: what later callers are told.
        """

    async def ping(self) -> bool:
        """Ask the store whether it answers."""

    async def close(self) -> None:
        """Close the connections. Calls in progress may fail."""

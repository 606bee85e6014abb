"""Sessions in Redis: a hash for each, and a note beside it that outlives it and says why it is gone.

Owns the keys, and what the scripts in ``lua`` are given and say; each of them is one method. It knows
nothing of connections. Runs on the event loop.
"""

import copy
import hashlib
import re
import secrets
from collections.abc import Callable
from itertools import count
from typing import Any, Self

from unrolled_service.errors import (
    PositionMismatch,
    SessionBusy,
    SessionEvicted,
    SessionExpired,
    SessionMoved,
    SessionNotFound,
    UnrolledError,
)
from unrolled_service.storage.scripts import OnOperation, Scripts
from unrolled_service.storage.store import MAX_SNAPSHOT_BYTES, Claim, Gone, Leased

SCRIPTS = ("create", "claim", "write", "release", "delete")
_TENANT_DIGITS = 32
_SESSION_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_GONE: dict[bytes | None, Callable[[], UnrolledError]] = {
    Gone.EXPIRED.encode(): SessionExpired,
    Gone.EVICTED.encode(): SessionEvicted,
}


class RedisStore:
    """A ``SessionStore`` in one Redis server; its methods are described there.

    Args:
        scripts: those of ``SCRIPTS`` on that server; stores may share them.
        owner: a name for people. Every store object is an owner of its own, so that a server
            that starts again is not taken for the one before.
        prefix: what the keys begin with; servers that share sessions share it.
        memory_s: how long it is known why a session is gone, in seconds.
    """

    def __init__(self, scripts: Scripts, *, owner: str, prefix: str = "unrolled:", memory_s: float = 3600.0) -> None:
        self._scripts = scripts
        self._owner = f"{owner}.{secrets.token_hex(8)}"
        self._prefix = self._tenant_prefix = prefix
        self._memory_ms = _ms(memory_s)
        self._serials = count(1)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        owner: str,
        prefix: str = "unrolled:",
        memory_s: float = 3600.0,
        timeout_s: float = 1.0,
        on_operation: OnOperation | None = None,
    ) -> Self:
        """Return the store at a URL, to which nothing connects before the first call.

        Args:
            url: see ``unrolled_service.storage.scripts.locate``.
            owner: as for the class, like ``prefix`` and ``memory_s``.
            prefix: likewise.
            memory_s: likewise.
            timeout_s: limit of every call in seconds.
            on_operation: told the name of each call that was made, its seconds, and whether there was an answer.

        Raises:
            ValueError: the URL is none; the message does not repeat it.
        """
        scripts = Scripts(url, SCRIPTS, timeout_s=timeout_s, on_operation=on_operation)
        return cls(scripts, owner=owner, prefix=prefix, memory_s=memory_s)

    def __repr__(self) -> str:
        return f"RedisStore({self._scripts.place!r}, owner={self._owner!r})"

    def of(self, tenant: str) -> "RedisStore":
        """Return the store as a tenant has it: under keys that no other tenant's calls can name."""
        digest = hashlib.sha256(tenant.encode()).hexdigest()[:_TENANT_DIGITS]
        theirs = copy.copy(self)
        theirs._tenant_prefix = f"{self._prefix}{digest}:" if tenant else self._prefix
        return theirs

    @property
    def is_available(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._scripts.is_available

    async def create(self, session_id: str, snapshot: bytes, position: int, *, ttl_s: float, lease_s: float) -> Claim:
        """Write a session for the first time."""
        _check_size(snapshot)
        (epoch,) = await self._run("create", session_id, position, snapshot, _ms(ttl_s), _ms(lease_s), self._memory_ms)
        return Claim(epoch, position, None)

    async def claim(self, session_id: str, *, lease_s: float, known_epoch: int = 0) -> Claim:
        """Take a session, or renew the lease of one that is held."""
        return Claim(*await self._run("claim", session_id, known_epoch, _ms(lease_s), self._memory_ms))

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
        """Replace the state of a session that is still this owner's."""
        _check_size(snapshot)
        times = _ms(ttl_s), _ms(lease_s), self._memory_ms
        await self._run("write", session_id, epoch, position, snapshot, *times, int(rewound))

    async def release(self, session_id: str, *, epoch: int) -> None:
        """End the lease, if the epoch is still this owner's."""
        await self._run("release", session_id, epoch)

    async def delete(self, session_id: str, *, epoch: int | None = None, why: Gone = Gone.DELETED) -> None:
        """End a session; with an epoch, only if that is still this owner's."""
        await self._run("delete", session_id, "" if epoch is None else epoch, why, self._memory_ms)

    async def ping(self) -> bool:
        """Ask the server whether it answers."""
        return await self._scripts.ping()

    async def close(self) -> None:
        """Close the connections."""
        await self._scripts.close()

    async def _run(self, script: str, session_id: str, *arguments: str | bytes | int) -> list[Any]:
        """Run a script for a session; return what it says, or raise what it refuses with."""
        if not _SESSION_ID.fullmatch(session_id):
            raise SessionNotFound
        session = (
            f"{self._tenant_prefix}{{{session_id}}}"  # braces: a proxy before several servers keeps both keys on one
        )
        keys = (session, f"{session}:note")
        word, *said = await self._scripts.run(script, keys, self._owner, next(self._serials), *arguments)
        match word:
            case b"done":
                return said
            case b"gone":
                raise _GONE.get(said[0] if said else None, SessionNotFound)()
            case b"leased":
                raise Leased(said[0] / 1000)
            case b"late":  # a later call of this owner was there first
                raise SessionBusy
            case b"behind":
                raise PositionMismatch(f"the stored session is at position {said[0]}", position=said[0])
            case _:
                raise SessionMoved


def _check_size(snapshot: bytes) -> None:
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise ValueError(f"a snapshot of {len(snapshot)} bytes; a store takes {MAX_SNAPSHOT_BYTES}")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

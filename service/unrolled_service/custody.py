"""Who has a session: brings it from the store before it is used, and writes it back when it has moved.

Without a store every session is where it was made, and nothing here does anything. With one, a session that is
used is claimed first, so that what this server has in memory is the newest there is; while a stream runs on
it the lease is renewed with each write. A store that is down takes nothing from sessions in memory. Runs on the
event loop.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled_service.engine import Engine
from unrolled_service.errors import (
    SessionEvicted,
    SessionExpired,
    SessionMoved,
    SessionNotFound,
    StoreUnavailable,
    UnrolledError,
)
from unrolled_service.keys import Keys
from unrolled_service.outbox import Outbox
from unrolled_service.settings import Settings
from unrolled_service.snapshot import Content, Host, encode, open_snapshot
from unrolled_service.store import SessionStore
from unrolled_service.workers import Worker, Workers

_log = logging.getLogger(__name__)
_GONE = (SessionNotFound, SessionExpired, SessionEvicted)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known here of a session."""

    epoch: int
    is_busy: bool


class Custody:
    """The sessions of a server and the store behind them.

    Args:
        store: None keeps sessions in memory alone.
        workers: where sessions are worked on.
        hosts: what continues their states: the bundles served.
        keys: sign what is stored.
        settings: intervals and leases.
    """

    def __init__(
        self, store: SessionStore | None, workers: Workers, hosts: Sequence[Host], keys: Keys, settings: Settings
    ) -> None:
        self._store = store
        self._workers = workers
        self._hosts = hosts
        self._keys = keys
        self._settings = settings
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def is_available(self) -> bool:
        """Whether nothing is known to be wrong with the store, if there is one."""
        return self._store is None or self._store.is_available

    async def hold(self, session_id: str, *, lease_s: float | None = None) -> Worker:
        """Return the worker that has a session, in its newest state.

        Args:
            session_id: the session.
            lease_s: how long other servers are to wait for it; None takes the setting.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted: it is nowhere.
            SessionBusy: another server is working on it.
            StoreUnavailable: it is not in memory, and the store does not answer.
            SnapshotInvalid, SnapshotMismatch: it is stored, but not for this server.
        """
        worker = self._workers.of_session(session_id)
        if self._store is None:
            return worker
        held = await worker.driver.call(_look_up, worker.engine, session_id)
        if held and held.is_busy:
            return worker  # its stream keeps the lease
        try:
            lease_s = self._settings.store_lease_s if lease_s is None else lease_s
            claim = await self._store.claim(session_id, lease_s=lease_s, known_epoch=held.epoch if held else 0)
        except StoreUnavailable:
            if held:
                return worker
            raise
        except _GONE:
            if held and not held.epoch:
                return worker  # it was made while the store was down
            await worker.driver.call(_drop, worker.engine, session_id)
            raise
        if claim.snapshot is None:
            return worker
        content = self.read(claim.snapshot)
        await worker.driver.call(_put_in, worker.engine, content, session_id, claim.epoch)
        return worker

    def read(self, snapshot: bytes, *, accept_other_numerics: bool = False) -> Content:
        """Return what a snapshot holds, for the bundle that it belongs to.

        Raises:
            SnapshotInvalid, SnapshotMismatch
        """
        opened = open_snapshot(snapshot, self._keys, owner="")
        return opened.unpack(self._hosts, accept_other_numerics=accept_other_numerics)

    def sign(self, content: Content) -> bytes:
        """Return a session as signed bytes."""
        return encode(content, self._keys)

    async def save(self, session_id: str, *, lease_s: float = 0.0, rewound: bool = False) -> None:
        """Write a session to the store; one that cannot be reached is no error for those in memory.

        Args:
            session_id: a session in memory.
            lease_s: how long other servers are to wait for it; 0 gives it free.
            rewound: whether it was moved back.

        Raises:
            SessionMoved: another server has it now; it is gone from here.
            SessionNotFound, SessionExpired, SessionEvicted: it is not in memory.
        """
        if self._store is None:
            return
        worker = self._workers.of_session(session_id)
        content, epoch = await worker.driver.call(_take_out, worker.engine, session_id)
        snapshot, position = self.sign(content), content.consumed + len(content.pending)
        ttl_s = content.ttl_s
        try:
            if not epoch:
                claim = await self._store.create(session_id, snapshot, position, ttl_s=ttl_s, lease_s=lease_s)
                await worker.driver.call(_set_epoch, worker.engine, session_id, claim.epoch)
                return
            await self._store.write(
                session_id,
                epoch=epoch,
                position=position,
                snapshot=snapshot,
                ttl_s=ttl_s,
                lease_s=lease_s,
                rewound=rewound,
            )
        except StoreUnavailable:
            _log.warning("a session could not be stored; it goes on in memory")
        except (SessionMoved, *_GONE):
            await worker.driver.call(_drop, worker.engine, session_id)
            raise SessionMoved from None

    def save_later(self, session_id: str) -> None:
        """Write a session to the store without anybody waiting; ``settle`` does."""
        if self._store is not None:
            task = asyncio.create_task(self._save_quietly(session_id))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def delete(self, session_id: str) -> None:
        """End a session in the store, before it is ended in memory.

        Raises:
            StoreUnavailable: it would come back.
        """
        if self._store is not None:
            try:
                await self._store.delete(session_id)
            except _GONE:
                return

    def keep(self, session_id: str | None, outbox: Outbox) -> "Keeper":
        """Keep a session while a stream runs on it: write it now and then, and end the stream if it has moved."""
        return Keeper(self, session_id if self._store is not None else None, outbox, self._settings)

    async def settle(self) -> None:
        """Wait for the writes that nobody waits for."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def close(self) -> None:
        """Write what is to be written and leave the store."""
        await self.settle()
        if self._store is not None:
            await self._store.close()

    async def probe(self) -> None:
        """Ask a store that did not answer whether it does again."""
        if self._store is not None and not self._store.is_available:
            await self._store.ping()

    async def _save_quietly(self, session_id: str) -> None:
        try:
            await self.save(session_id)
        except UnrolledError as error:
            _log.info("a session was not stored: %s", error.reason)


class Keeper:
    """Keeps one session while a stream runs on it; to be closed when that ends.

    Args:
        custody: writes it.
        session_id: None keeps nothing.
        outbox: of the stream.
        settings: interval and lease.
    """

    def __init__(self, custody: Custody, session_id: str | None, outbox: Outbox, settings: Settings) -> None:
        self._custody = custody
        self._session_id = session_id
        self._outbox = outbox
        self._interval_s = settings.store_interval_s
        self._lease_s = settings.store_lease_s
        self._kept_until = time.monotonic() + self._lease_s
        self._saving = asyncio.Lock()
        self._renewal = None if session_id is None else asyncio.create_task(self._renew())

    def close(self) -> None:
        """Write no more."""
        if self._renewal:
            self._renewal.cancel()

    @property
    def is_overdue(self) -> bool:
        """Whether the lease has run out since it was last renewed."""
        return self._session_id is not None and time.monotonic() >= self._kept_until

    async def confirm(self) -> None:
        """Make sure that the session is still this server's, before more of it is shown.

        A server that stood still for longer than its lease must not go on as if nothing had happened.

        Raises:
            SessionMoved: it is not.
        """
        if self.is_overdue:
            await self._save()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._save()
            except SessionMoved as error:
                self._outbox.end(error)
                return

    async def _save(self) -> None:
        async with self._saving:
            if self._session_id is not None:
                began = time.monotonic()
                await self._custody.save(self._session_id, lease_s=self._lease_s)
                self._kept_until = began + self._lease_s


def _look_up(engine: Engine, session_id: str) -> _Held | None:
    try:
        session = engine.session(session_id)
    except _GONE:
        return None
    return _Held(session.epoch, session.row is not None)


def _put_in(engine: Engine, content: Content, session_id: str, epoch: int) -> None:
    engine.registry.put_in(content, session_id=session_id).epoch = epoch


def _take_out(engine: Engine, session_id: str) -> tuple[Content, int]:
    return engine.take_out_session(session_id), engine.session(session_id).epoch


def _set_epoch(engine: Engine, session_id: str, epoch: int) -> None:
    engine.session(session_id).epoch = epoch


def _drop(engine: Engine, session_id: str) -> None:
    """Forget a session that is somebody else's; one on which a stream runs goes when that ends."""
    try:
        session = engine.session(session_id)
    except _GONE:
        return
    if session.row:
        session.ends = session.expires = 0.0
    else:
        engine.registry.remove(session)

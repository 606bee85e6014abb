"""Who has a session: brings it from the store before it is used, and writes it back when it has moved.

Without a store every session is where it was made, and nothing here does anything. With one, a session that is
used is claimed first, so that what this server has in memory is the newest there is. The calls of one session go to
the store one behind the other. A store that is down takes nothing from sessions in memory, but for callers to whom an
old copy would be an answer. Runs on the event loop.
"""

import asyncio
import copy
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from unrolled_service.bridge.completion import complete
from unrolled_service.bridge.workers import Worker, Workers
from unrolled_service.engine import Engine
from unrolled_service.errors import (
    PositionMismatch,
    SessionEvicted,
    SessionExpired,
    SessionMoved,
    SessionNotFound,
    StoreUnavailable,
    UnrolledError,
)
from unrolled_service.settings import Settings
from unrolled_service.snapshots.keys import Keys
from unrolled_service.snapshots.snapshot import Content, Host, encode, open_snapshot
from unrolled_service.storage.store import SessionStore
from unrolled_service.telemetry.calls import note

_R = TypeVar("_R")

_log = logging.getLogger(__name__)
_GONE = (SessionNotFound, SessionExpired, SessionEvicted)
_FIRST_EPOCH = 1
_MOST_UNSTORED = 100_000


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known here of a session."""

    epoch: int
    is_busy: bool
    position: int


@dataclass(frozen=True, slots=True)
class _Taken(_Held):
    """What is to be stored of a session."""

    content: Content


class Custody:
    """The sessions of a server and the store behind them.

    Args:
        store: None keeps sessions in memory alone.
        workers: where sessions are worked on.
        hosts: what continues their states: the bundles served, and those that are kept for their sessions.
        keys: sign what is stored.
        settings: intervals and leases.

    Attributes:
        hosts: as given; set anew when bundles come and go.
        owner: the tenant whose sessions these are; empty where callers are not told apart.
    """

    def __init__(
        self, store: SessionStore | None, workers: Workers, hosts: Sequence[Host], keys: Keys, settings: Settings
    ) -> None:
        self.owner = ""
        self._store = store
        self._workers = workers
        self.hosts = hosts
        self._keys = keys
        self._settings = settings
        self._writes: set[asyncio.Task[Any]] = set()
        self._unstored: set[tuple[str, str]] = set()  # of all tenants, as are the turns
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, tenant: str) -> "Custody":
        """Return the same custody, of a tenant's sessions alone: to it those of others do not exist."""
        if tenant == self.owner:
            return self
        theirs = copy.copy(self)
        theirs.owner = tenant
        theirs._store = self._store.of(tenant) if self._store else None
        return theirs

    @property
    def has_store(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    @property
    def is_available(self) -> bool:
        """Whether nothing is known to be wrong with the store, if there is one."""
        return self._store is None or self._store.is_available

    async def hold(
        self,
        session_id: str,
        *,
        expected_position: int | None = None,
        is_question: bool = False,
        lease_s: float | None = None,
    ) -> Worker:
        """Return the worker that has a session, in its newest state.

        Args:
            session_id: the session.
            expected_position: where the caller has it; None where it does not say.
            is_question: the caller asks where it is, and is better told nothing than something old.
            lease_s: how long other servers are to wait for it; None takes the setting.

        Raises:
            SessionNotFound, SessionExpired, SessionEvicted: it is nowhere.
            SessionBusy: another server is working on it.
            StoreUnavailable: the store does not answer, and it is not in memory, or there may be a newer state of it.
            SnapshotInvalid, SnapshotMismatch: it is stored, but not for this server.
        """
        note(session_id=session_id)
        worker = self._workers.of_session(session_id)
        if self._store is not None:
            lease_s = self._settings.store_lease_s if lease_s is None else lease_s
            async with self._turn(session_id):
                try:
                    await self._bring(self._store, worker, session_id, lease_s)
                except StoreUnavailable:
                    held = await worker.driver.call(_look_up, worker.engine, session_id, self.owner)
                    if held is None or self._may_be_old(held, session_id, expected_position, is_question):
                        raise
        return worker

    def read(self, snapshot: bytes, *, accept_other_numerics: bool = False) -> Content:
        """Return what a snapshot holds, for the bundle that it belongs to.

        Raises:
            SnapshotInvalid, SnapshotMismatch
        """
        opened = open_snapshot(snapshot, self._keys, owner=self.owner)
        return opened.unpack(self.hosts, accept_other_numerics=accept_other_numerics)

    def sign(self, content: Content) -> bytes:
        """Return a session as signed bytes."""
        return encode(content, self._keys)

    async def save(self, session_id: str, *, lease_s: float = 0.0, rewound: bool = False) -> bool:
        """Write a session to the store and return whether it is there; no store is no error for those in memory.

        Args:
            session_id: a session in memory.
            lease_s: how long other servers are to wait for it; 0 gives it free.
            rewound: whether it was moved back.

        Raises:
            SessionMoved: another server has it now; it is gone from here.
            SessionNotFound, SessionExpired, SessionEvicted: it is not in memory.
        """
        if self._store is None:
            return False
        async with self._turn(session_id):
            return await self._write(self._store, self._workers.of_session(session_id), session_id, lease_s, rewound)

    async def complete(self, moving: Coroutine[Any, Any, _R]) -> _R:
        """Move a session and store it to the end, though the caller may go away in the middle; ``settle`` waits.

        What only memory knows of would be gone with this server, and its caller, who asks again, would not hear of it.
        """
        return await complete(moving, self._writes)

    def save_later(self, session_id: str) -> "asyncio.Task[None]":
        """Write a session to the store without anybody waiting, unless for the task; ``settle`` does."""
        task = asyncio.create_task(self._save_quietly(session_id))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def release(self, session_id: str) -> None:
        """Let other servers have a session of which a call was refused."""
        if self._store is None:
            return
        worker = self._workers.of_session(session_id)
        async with self._turn(session_id):
            held = await worker.driver.call(_look_up, worker.engine, session_id, self.owner)
            if held and held.epoch and not held.is_busy:
                with suppress(StoreUnavailable):  # then the lease runs out
                    await self._store.release(session_id, epoch=held.epoch)

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

    async def settle(self) -> None:
        """Wait for the writes that nobody waits for."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def close(self) -> None:
        """Write what is to be written and leave the store."""
        await self.settle()
        if self._store is not None:
            await self._catch_up(self._store)
            await self._store.close()

    async def probe(self) -> None:
        """Ask the store whether it answers; if so, write what could not be written before.

        The next use of these sessions may be with another server, to which they are what the store says.
        """
        if self._store is not None and await self._store.ping():
            await self._catch_up(self._store)

    async def _catch_up(self, store: SessionStore) -> None:
        for owner, session_id in tuple(self._unstored):
            if not store.is_available:
                return
            self._unstored.discard((owner, session_id))
            await self.of(owner)._save_quietly(session_id)

    def _turn(self, session_id: str) -> asyncio.Lock:
        """Return what keeps the calls of a session to the store one behind the other."""
        return self._turns.setdefault((self.owner, session_id), asyncio.Lock())

    def _may_be_old(self, held: _Held, session_id: str, expected: int | None, is_question: bool) -> bool:
        """Tell whether a session in memory may have gone on elsewhere, as far as its caller can be harmed by that.

        One that was never stored, or moved here since the store was last heard, is nowhere newer.
        """
        if not held.epoch or (self.owner, session_id) in self._unstored:
            return False
        return is_question if expected is None else expected != held.position

    async def _bring(self, store: SessionStore, worker: Worker, session_id: str, lease_s: float) -> None:
        held = await worker.driver.call(_look_up, worker.engine, session_id, self.owner)
        if held and held.is_busy:
            return  # its stream keeps the lease
        # What was made here while the store did not answer may have arrived there after all, as the first epoch.
        known_epoch = held.epoch or _FIRST_EPOCH if held else 0
        try:
            claim = await store.claim(session_id, lease_s=lease_s, known_epoch=known_epoch)
        except _GONE:
            if held and not held.epoch:
                return  # it was made while the store was down
            await worker.driver.call(_drop, worker.engine, session_id, self.owner)
            raise
        if claim.snapshot is None:
            await worker.driver.call(_set_epoch, worker.engine, session_id, self.owner, claim.epoch)
            return
        try:
            content = self.read(claim.snapshot)
        except UnrolledError:
            with suppress(StoreUnavailable):  # then the lease runs out
                await store.release(session_id, epoch=claim.epoch)
            raise
        await worker.driver.call(_put_in, worker.engine, content, session_id, claim.epoch)

    async def _write(self, store: SessionStore, worker: Worker, session_id: str, lease_s: float, rewound: bool) -> bool:
        taken = await worker.driver.call(_take_out, worker.engine, session_id, self.owner)
        content, epoch = taken.content, taken.epoch
        snapshot, position = self.sign(content), content.position
        if taken.is_busy:  # by a stream after the one that this is about
            lease_s = max(lease_s, self._settings.store_lease_s)

        async def write(rewound: bool) -> None:
            times = {"ttl_s": content.ttl_s, "lease_s": lease_s}
            await store.write(session_id, epoch=epoch, position=position, snapshot=snapshot, rewound=rewound, **times)

        try:
            if not epoch:
                epoch, is_written = await _begin(store, session_id, snapshot, position, content.ttl_s, lease_s)
                await worker.driver.call(_set_epoch, worker.engine, session_id, self.owner, epoch)
                if is_written:
                    return True
            try:
                await write(rewound)
            except PositionMismatch:  # it was rewound while the store was down; by its epoch it is still ours
                await write(rewound=True)
        except StoreUnavailable:
            _log.warning("a session could not be stored; it goes on in memory")
            if len(self._unstored) < _MOST_UNSTORED:
                self._unstored.add((self.owner, session_id))
            return bool(epoch)
        except (SessionMoved, *_GONE):
            await worker.driver.call(_drop, worker.engine, session_id, self.owner)
            raise SessionMoved from None
        return True

    async def _save_quietly(self, session_id: str) -> None:
        try:
            await self.save(session_id)
        except UnrolledError as error:
            _log.info("a session was not stored: %s", error.reason)


async def _begin(
    store: SessionStore, session_id: str, snapshot: bytes, position: int, ttl_s: float, lease_s: float
) -> tuple[int, bool]:
    """Store a session that was made here; return its epoch, and whether it is stored as it is now.

    Raises:
        SessionMoved: another server has it.
    """
    try:
        claim = await store.create(session_id, snapshot, position, ttl_s=ttl_s, lease_s=lease_s)
    except SessionMoved:  # a try before did arrive, though the store did not say so
        claim = await store.claim(session_id, lease_s=lease_s, known_epoch=_FIRST_EPOCH)
        if claim.snapshot is not None:
            raise
        return claim.epoch, False
    return claim.epoch, True


def _look_up(engine: Engine, session_id: str, owner: str) -> _Held | None:
    try:
        session = engine.session(session_id, owner=owner)
    except _GONE:
        return None
    return _Held(session.epoch, session.row is not None, session.position)


def _put_in(engine: Engine, content: Content, session_id: str, epoch: int) -> None:
    engine.registry.put_in(content, session_id=session_id).epoch = epoch


def _take_out(engine: Engine, session_id: str, owner: str) -> _Taken:
    session = engine.session(session_id, owner=owner)
    return _Taken(
        session.epoch, session.row is not None, session.position, engine.take_out_session(session_id, owner=owner)
    )


def _set_epoch(engine: Engine, session_id: str, owner: str, epoch: int) -> None:
    engine.session(session_id, owner=owner).epoch = epoch


def _drop(engine: Engine, session_id: str, owner: str) -> None:
    """Forget a session that is somebody else's; one on which a stream runs goes when that ends."""
    try:
        session = engine.session(session_id, owner=owner)
    except _GONE:
        return
    if session.row:
        session.ends = session.expires = 0.0
    else:
        engine.registry.remove(session)

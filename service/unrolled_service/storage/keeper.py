"""Keeps a session while a stream runs on it: writes it now and then, and ends the stream if it has moved.

Each write renews the lease. Who has the session is the custody's business. Runs on the event loop.
"""

import asyncio
import time
from contextlib import suppress

from unrolled_service.bridge.outbox import Outbox
from unrolled_service.errors import UnrolledError
from unrolled_service.settings import Settings
from unrolled_service.storage.custody import Custody


class Keeper:
    """Keeps one session while a stream runs on it.

    Args:
        custody: writes it.
        session_id: None keeps nothing, as does a custody without a store.
        outbox: of the stream.
        settings: interval and lease.
    """

    def __init__(self, custody: Custody, session_id: str | None, outbox: Outbox, settings: Settings) -> None:
        self._custody = custody
        self._session_id = session_id if custody.has_store else None
        self._outbox = outbox
        self._interval_s = settings.store_interval_s
        self._interval_tokens = settings.store_interval_tokens
        self._noted: int | None = None
        self._is_due = asyncio.Event()
        self._lease_s = settings.store_lease_s
        self._kept_until = time.monotonic() + self._lease_s
        self._saving = asyncio.Lock()
        self._renewals: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write the session at intervals until ``stop``."""
        if self._session_id is not None:
            self._renewals = asyncio.create_task(self._renew())

    def stop(self) -> None:
        """Renew no more: the stream is over."""
        if self._renewals is not None:
            self._renewals.cancel()

    @property
    def is_overdue(self) -> bool:
        """Whether the lease may have run out since it was last renewed."""
        return self._session_id is not None and time.monotonic() >= self._kept_until

    async def confirm(self) -> None:
        """Make sure that the session is still this server's, before more of it is shown.

        A server that stood still for longer than its lease must not go on as if nothing had happened.

        Raises:
            SessionMoved: it is not.
        """
        if self.is_overdue:
            await self._save()

    def note(self, position: int) -> None:
        """Take in how far the stream is; after enough tokens the session is written before its time."""
        if self._noted is None:
            self._noted = position
        elif position - self._noted >= self._interval_tokens:
            self._noted = position
            self._is_due.set()

    async def _renew(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                await self._save()
            except UnrolledError as error:
                self._outbox.end(error)
                return

    async def _save(self) -> None:
        async with self._saving:
            if self._session_id is not None:
                began = time.monotonic()
                await self._custody.save(self._session_id, lease_s=self._lease_s)
                self._kept_until = began + self._lease_s

"""Stops the stream that runs on a session, so that another call may have it. Runs on the event loop."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from unrolled_service.bridge.outbox import Outbox
from unrolled_service.bridge.workers import Worker
from unrolled_service.engine import Engine
from unrolled_service.errors import Preempted, SessionBusy
from unrolled_service.storage.store import Leased

_R = TypeVar("_R")


async def preempting(worker: Worker, session_id: str, act: Callable[[], Awaitable[_R]], *, owner: str) -> _R:
    """End the stream on a session of an owner, if there is one, and act on the session as its caller saw it.

    Raises:
        SessionNotFound, SessionExpired, SessionEvicted
        SessionBusy: another server is working on it.
    """
    while True:
        await _end_stream(worker, session_id, owner)
        try:
            return await act()
        except Leased:  # by a stream on another server, which is out of reach
            raise
        except SessionBusy:  # another call was quicker, and is stopped like the one before
            continue


async def _end_stream(worker: Worker, session_id: str, owner: str) -> None:
    outbox = await worker.driver.call(_outbox_of, worker.engine, session_id, owner)
    if outbox is not None:
        outbox.end(Preempted())
        await outbox.closed.wait()


def _outbox_of(engine: Engine, session_id: str, owner: str) -> Outbox | None:
    row = engine.session(session_id, owner=owner).row
    return cast(Outbox, row.sink) if row else None

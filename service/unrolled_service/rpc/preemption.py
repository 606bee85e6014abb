"""Stops the stream that runs on a session, so that another call may have it. Runs on the event loop."""

from typing import cast

from unrolled_service.engine import Engine
from unrolled_service.errors import Preempted
from unrolled_service.outbox import Outbox
from unrolled_service.workers import Worker


async def preempt(worker: Worker, session_id: str) -> None:
    """End the stream on a session, if there is one, and wait until the session is left where its caller saw it.

    Raises:
        SessionNotFound, SessionExpired, SessionEvicted
    """
    outbox = await worker.driver.call(_outbox_of, worker.engine, session_id)
    if outbox is not None:
        outbox.end(Preempted())
        await outbox.closed.wait()


def _outbox_of(engine: Engine, session_id: str) -> Outbox | None:
    row = engine.session(session_id).row
    return cast(Outbox, row.sink) if row else None

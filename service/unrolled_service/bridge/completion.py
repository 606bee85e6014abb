"""Work that goes on to its end though the caller that waits for it goes away. Runs on the event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from unrolled_service.errors import UnrolledError

_R = TypeVar("_R")


async def complete(work: Coroutine[Any, Any, _R], running: set[asyncio.Task[Any]]) -> _R:
    """Do something to its end and return what came of it.

    A refusal that nobody waits for any more is no defect, and is not logged as one.

    Args:
        work: what is done.
        running: has the task while it runs.
    """
    task = asyncio.create_task(_outcome(work))
    running.add(task)
    task.add_done_callback(running.discard)
    outcome = await asyncio.shield(task)
    if isinstance(outcome, UnrolledError):
        raise outcome
    return outcome


async def _outcome(work: Coroutine[Any, Any, _R]) -> _R | UnrolledError:
    try:
        return await work
    except UnrolledError as error:
        return error

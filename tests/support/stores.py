"""Stores for tests, in an event loop of their own, and a clock that is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from unrolled_service.storage.gate import Gate
from unrolled_service.storage.redis_store import SCRIPTS, RedisStore
from unrolled_service.storage.scripts import OnOperation, Scripts

PATIENCE_S = 60.0
_POLL_S = 0.01


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def open_stores(
    url: str,
    owners: int = 1,
    *,
    timeout_s: float = PATIENCE_S,
    memory_s: float = 3600.0,
    clock: Clock | None = None,
    on_operation: OnOperation | None = None,
) -> AsyncIterator[list[RedisStore]]:
    """Give so many owners their stores, which share the connections, and close them at the end.

    Without a clock of the test's, a failure keeps nobody from asking again.
    """
    gate = Gate(clock=clock) if clock else Gate(shortest_s=1e-9, longest_s=1e-9)
    scripts = Scripts(url, SCRIPTS, timeout_s=timeout_s, gate=gate, on_operation=on_operation)
    try:
        yield [RedisStore(scripts, owner=f"owner-{number}", memory_s=memory_s) for number in range(owners)]
    finally:
        await scripts.close()


async def try_until(call: Callable[[], Awaitable[object]], expected: type[Exception] | None) -> None:
    """Make a call until it fails in the expected way; or until it succeeds, for None.

    Raises:
        TimeoutError: it never did.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await call()
            except Exception as error:
                if expected and isinstance(error, expected):
                    return
            else:
                if expected is None:
                    return
            await asyncio.sleep(_POLL_S)

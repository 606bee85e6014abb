"""A server inside this process, on a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server
from unrolled_service.settings import Settings

_LIMIT_S = 60


@contextmanager
def serving(*bundles: Bundle, **settings: object) -> Iterator[Server]:
    """Serve bundles on free ports of the loopback interface; drain and stop at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="serving")
    thread.start()

    def wait(coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(_LIMIT_S)  # type: ignore[arg-type]

    values = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "drain_grace_s": 0.0} | settings
    server = Server(bundles, Settings(**values))  # type: ignore[arg-type]
    try:
        wait(server.start())
        try:
            yield server
        finally:  # also where a test fails: its server's threads would fail the next one
            wait(server.drain())
            wait(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LIMIT_S)
        loop.close()

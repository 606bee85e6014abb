"""News that waits for its reader: one place, in which news merge until they are taken.

A slow reader therefore gets longer pieces, never a growing queue. Everything here runs on the event
loop, but ``delivered`` is read by the engine's thread too.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from unrolled_service.rows.delivery import Delivery, Item

_NUMBERS_A_PIECE = 65_536


class Parcel(NamedTuple):
    """All news since the last parcel.

    Attributes:
        text: may be empty where there is a finish or an error.
        position: inputs in the history once this is taken.
        items: one entry a token of the text, or none; or outputs that are no tokens.
        finish: the result, if it came.
        error: the failure, if that came.
    """

    text: str
    position: int
    items: list[Item]
    finish: object
    error: Exception | None


def split(parcel: Parcel, tokens: int) -> Iterator[Parcel]:
    """Yield a parcel in pieces of at most ``tokens`` tokens or outputs each, where that is not 0.

    A piece has so few numbers that its message is far below what readers take.
    """
    size = len(parcel.text or parcel.items)
    most = max(1, _NUMBERS_A_PIECE // max(1, parcel.items[0].numbers)) if parcel.items else max(1, size)
    most = min(tokens or most, most)
    for start in range(0, size, most):
        end = min(start + most, size)
        yield Parcel(parcel.text[start:end], parcel.position - size + end, parcel.items[start:end], None, None)


class Outbox:
    """The sink of one stream.

    Attributes:
        delivered: position of the last text that has left for the caller.
        error: the failure, once it came; it stays whatever comes after it.
        is_ended: it was ended from this side.
        closed: set once the engine was told to let go of the stream.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self._text: list[str] = []
        self._position = 0
        self._items: list[Item] = []
        self._finish: object = None
        self.error: Exception | None = None
        self._writer: asyncio.Task[object] | None = None
        self._writing_since: float | None = None
        self._is_interrupted = False
        self._has_news = asyncio.Event()
        self.is_ended = False
        self.closed = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        """Add news to what waits; none is added any more once it was ended."""
        if self.is_ended:
            return
        if delivery.text:
            self._text.append(delivery.text)
        self._items.extend(delivery.items)
        self._position = delivery.position
        self._finish = delivery.finish
        self.error = self.error or delivery.error
        if self.error:
            self._interrupt()
        self._has_news.set()

    def end(self, error: Exception) -> None:
        """End the stream from this side: what waits is dropped, so that no more of it is delivered."""
        self._text, self._items = [], []
        self.is_ended, self.error = True, error
        self._interrupt()
        self._has_news.set()

    async def take(self) -> Parcel:
        """Wait for news and take all of it."""
        await self._has_news.wait()
        self._has_news.clear()
        text, items = "".join(self._text), self._items
        self._text, self._items = [], []
        return Parcel(text, self._position, items, self._finish, self.error)

    async def write(self, send: Awaitable[None], position: int) -> None:
        """Wait until a message with text up to ``position`` has left, or until the wait is interrupted.

        Sent is sent: also where the wait ends early, a reader that comes back finds the message in the
        transport, so ``delivered`` counts it.

        Raises:
            TimeoutError: it was interrupted: by the limit of ``watch``, or because the stream has failed.
        """
        loop = asyncio.get_running_loop()
        self._writing_since = loop.time()
        try:
            await send
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
            if self._writer:
                self._writer.uncancel()
            raise TimeoutError from None
        finally:
            self._writing_since = None
            self.delivered = position

    @contextmanager
    def watch(self, limit_s: float) -> Iterator[None]:
        """Interrupt writes of the current task that take longer than ``limit_s``: one timer, not one a message."""
        self._writer = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._check, limit_s)
        try:
            yield
        finally:
            self._timer.cancel()
            self._writer = None

    def _check(self, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        since = self._writing_since
        if since is not None and loop.time() >= since + limit_s:
            self._interrupt()
        else:
            self._timer = loop.call_at((since or loop.time()) + limit_s, self._check, limit_s)

    def _interrupt(self) -> None:
        if self._writing_since is not None and self._writer and not self._is_interrupted:
            self._is_interrupted = True
            self._writer.cancel()

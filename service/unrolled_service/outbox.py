"""Text that waits for its reader: one place, in which news merge until they are taken.

A slow reader therefore gets longer pieces, never a growing queue. Everything here runs on the event
loop, but ``delivered`` is read by the engine's thread too.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass

from unrolled_service.row import Delivery, Described


@dataclass(frozen=True, slots=True)
class Parcel:
    """All news since the last parcel.

    Attributes:
        text: may be empty where there is a finish or an error.
        position: tokens in the history once the text is taken.
        described: one entry a token of the text, or none.
        finish: the result, if it came.
        error: the failure, if that came.
    """

    text: str
    position: int
    described: list[Described]
    finish: object
    error: Exception | None


def split(parcel: Parcel, tokens: int) -> Iterator[Parcel]:
    """Yield the text of a parcel in pieces of at most ``tokens`` tokens each; whole where that is 0."""
    size = len(parcel.text)
    for start in range(0, size, tokens or max(size, 1)):
        end = min(start + (tokens or size), size)
        yield Parcel(parcel.text[start:end], parcel.position - size + end, parcel.described[start:end], None, None)


class Outbox:
    """The sink of one stream.

    Attributes:
        delivered: position of the last text that has left for the caller.
        error: the failure, once it came.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self._text: list[str] = []
        self._position = 0
        self._described: list[Described] = []
        self._finish: object = None
        self.error: Exception | None = None
        self._write_limit: asyncio.Timeout | None = None
        self._has_news = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        """Add news to what waits."""
        if delivery.text:
            self._text.append(delivery.text)
        self._described.extend(delivery.described)
        self._position = delivery.position
        self._finish = delivery.finish
        self.error = delivery.error
        if self.error and self._write_limit:
            self._write_limit.reschedule(asyncio.get_running_loop().time())
        self._has_news.set()

    async def take(self) -> Parcel:
        """Wait for news and take all of it."""
        await self._has_news.wait()
        self._has_news.clear()
        text, described = "".join(self._text), self._described
        self._text, self._described = [], []
        return Parcel(text, self._position, described, self._finish, self.error)

    async def write(self, send: Awaitable[None], position: int, limit_s: float) -> None:
        """Wait until a message with text up to ``position`` has left; a failure that comes meanwhile ends the wait.

        Sent is sent: also where the wait ends early, a reader that comes back finds the message in the
        transport, so ``delivered`` counts it.

        Raises:
            TimeoutError: it has not left after ``limit_s``, or the stream has failed.
        """
        try:
            async with asyncio.timeout(limit_s) as self._write_limit:
                await send
        finally:
            self._write_limit = None
            self.delivered = position

"""Text that waits for its reader: one place, in which news merge until they are taken.

A slow reader therefore gets longer pieces, never a growing queue. Everything here runs on the event
loop, but ``delivered`` is read by the engine's thread too.
"""

import asyncio
from dataclasses import dataclass

from unrolled_service.lane import Delivery
from unrolled_service.stream import Finish


@dataclass(frozen=True, slots=True)
class Parcel:
    """All news since the last parcel.

    Attributes:
        text: may be empty where there is a finish or an error.
        position: tokens in the history once the text is taken.
        finish: the end, if it came.
        error: the failure, if that came.
    """

    text: str
    position: int
    finish: Finish | None
    error: Exception | None


class Outbox:
    """The sink of one stream.

    Attributes:
        delivered: position of the last text that has left for the caller.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self._text: list[str] = []
        self._position = 0
        self._finish: Finish | None = None
        self._error: Exception | None = None
        self._has_news = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        """Add news to what waits."""
        if delivery.text:
            self._text.append(delivery.text)
        self._position = delivery.position
        self._finish = delivery.finish
        self._error = delivery.error
        self._has_news.set()

    async def take(self) -> Parcel:
        """Wait for news and take all of it."""
        await self._has_news.wait()
        self._has_news.clear()
        parcel = Parcel("".join(self._text), self._position, self._finish, self._error)
        self._text.clear()
        return parcel

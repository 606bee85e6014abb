"""Feeds a row with what its caller sends, message by message, no faster than it is computed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from unrolled_service.bridge.outbox import Parcel
from unrolled_service.rows.reading import ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rpc.claim import Claim


class Feeder:
    """Reads the further messages of a call.

    A message that is refused ends the reading: what came before it is still computed and delivered.

    Args:
        claim: on the row.
        requests: messages after the first one.
        read: checks a message and returns its inputs.
        fed: how many inputs the first message had.

    Attributes:
        error: why the reading ended before its time, or None.
        fed: inputs fed so far.
    """

    def __init__(self, claim: Claim, requests: AsyncIterator[Any], read: Callable[[Any], Inputs], fed: int) -> None:
        self.error: Exception | None = None
        self.fed = fed
        self._claim = claim
        self._requests = requests
        self._read = read
        self._has_room = asyncio.Event()
        if not fed:
            self._has_room.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read until the caller has closed its side, or until the block ends."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()

    def note(self, parcel: Parcel) -> None:
        """Take in how far the row is: once everything is computed there is room for more."""
        row = self._claim.row
        if row is not None and parcel.position - row.start >= self.fed:
            self._has_room.set()

    async def _run(self) -> None:
        try:
            async for request in self._requests:
                inputs = self._read(request)
                await self._has_room.wait()
                self._has_room.clear()
                self.fed += len(inputs)
                self._claim.send(partial(self._feed, inputs))
        except Exception as error:  # a defect too is for the caller, who would wait for ever
            self.error = error
        self._claim.send(self._end)

    def _feed(self, inputs: Inputs, row: Row) -> None:
        self._claim.engine.feed(cast(ReadingRow, row), inputs)

    def _end(self, row: Row) -> None:
        self._claim.engine.end(cast(ReadingRow, row), is_refused=self.error is not None)

"""The asynchronous stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import grpc

from unrolled_client.received import Received
from unrolled_client.values import Chunk
from unrolled_client.wire.status import error_of


class AsyncStream(Received):
    """The text of one generation while it arrives: iterate over its pieces, inside of an `async with`.

    The server computes until the stream ends or is closed. Leave the `async with` block, by `break` or by an
    exception, and the call is cancelled; so it is when the reading task is cancelled, and when an unread
    stream is collected.

    Iteration ends when the text is complete. A call that breaks raises an UnrolledError, and so does every
    later read. A stream that this program closed before its end raises Cancelled when it is read again, also
    in a task that is waiting for text at that moment: a cut text never looks like a complete one. One task at
    a time may read.
    """

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        chunk = await self._receive()
        if chunk is None:
            raise StopAsyncIteration
        return chunk.text

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Iterate over the pieces with their positions."""
        while (chunk := await self._receive()) is not None:
            yield chunk

    async def read(self) -> str:
        """Wait for the end and return the whole text, also what was iterated before.

        Raises:
            UnrolledError: the call broke or was closed before its end; `text` has what arrived.
        """
        async with self:
            async for _ in self:
                pass
        return self.text

    async def close(self) -> None:
        """Do the same as cancel."""
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # grpc.aio keeps a running call alive by itself; its loop may be closed by now.
        with suppress(RuntimeError):
            self.cancel()

    async def _receive(self) -> Chunk | None:
        if not self._transcript.is_over:
            try:
                while (message := await self._call.read()) is not grpc.aio.EOF:
                    if (chunk := self._transcript.take(message)) is not None:
                        return chunk
                self._transcript.end()
            except grpc.RpcError as failure:
                self._transcript.fail(error_of(failure))
            except asyncio.CancelledError:
                # It stands for a cancelled task, and for a call closed here, alone or with its client.
                self.cancel()
                if _is_task_cancelled():
                    raise
        self._transcript.check()
        return None


def _is_task_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

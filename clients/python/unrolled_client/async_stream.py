"""The asynchronous stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from unrolled_client.async_connection import AsyncConnection, is_task_cancelled
from unrolled_client.errors import UnrolledError
from unrolled_client.received import Received
from unrolled_client.values import Chunk
from unrolled_client.wire.breaks import incomplete
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.steps import Pause, Step, perform_async


class AsyncStream(Received):
    """The text of one generation while it arrives: iterate over its pieces, inside of an `async with`.

    The server computes until the stream ends or is closed. Leave the `async with` block, by `break` or by an
    exception, and the call is cancelled; so it is when the reading task is cancelled, and when an unread
    stream is collected.

    Iteration ends when the text is complete. Where the connection or the server is lost, reading waits, connects
    again and goes on, within the bounds of the client's policy; `resumes` counts it. A call that fails raises an
    UnrolledError, and so does every later read. A stream that this program closed before its end raises Cancelled
    when it is read again, also in a task that is waiting for text at that moment: a cut text never looks like a
    complete one. One task at a time may read.
    """

    def __init__(self, connection: AsyncConnection, course: Course) -> None:
        super().__init__(course)
        self._connection = connection
        self._is_cancelled = asyncio.Event()
        first = course.begin()
        if first is not None:
            self._call = connection.start(first)

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

    def cancel(self) -> None:
        """Stop reading; the call is cancelled unless it has ended. Doing so again changes nothing."""
        super().cancel()
        self._is_cancelled.set()

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
        try:
            while not self._course.is_over:
                if (chunk := await self._read_on()) is not None:
                    return chunk
        except asyncio.CancelledError:
            # It stands for a cancelled task, and for a call closed here, alone or with its client.
            self.cancel()
            if is_task_cancelled():
                raise
        self._transcript.check()
        return None

    async def _read_on(self) -> Chunk | None:
        """Wait for the next piece; where the call ends, proceed to the next one and return None."""
        error = None
        try:
            if self._call is not None:
                while (message := await self._call.read()) is not grpc.aio.EOF:
                    if (chunk := self._course.take(message)) is not None:
                        return chunk
                error = incomplete()
        except grpc.RpcError as failure:
            error = self._connection.error_of(self._call, failure)
        if not self._course.is_over:
            await self._proceed(error)
        return None

    async def _proceed(self, error: UnrolledError | None) -> None:
        try:
            following = await perform_async(self._course.proceed(error), self._take_step)
            self._follow(self._connection.start(following))
        except UnrolledError as ending:
            self._transcript.fail(ending)

    async def _take_step(self, step: Step) -> Any:
        match step:
            case Pause():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_cancelled.wait(), step.seconds)
                self._transcript.check()
                return None
            case UnaryCall():
                return await self._connection.outcome_of(self._follow(self._connection.ask(step)), step)

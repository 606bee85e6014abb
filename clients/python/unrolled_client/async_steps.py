"""The answers of a Step call, asynchronous."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import grpc

from unrolled_client.answered import Answered
from unrolled_client.answers import Output
from unrolled_client.async_connection import AsyncConnection, is_task_cancelled
from unrolled_client.errors import UnrolledError
from unrolled_client.wire.reading import Reading


class AsyncSteps(Answered):
    """The answers to a sequence, one an input, while they arrive: iterate over them, inside of an `async with`.

    The inputs are taken by a task of their own as fast as the server computes them, so they may wait for the
    answers before them. Leave the `async with` block, by `break` or by an exception, and the call is cancelled; on
    a session the state is then that after the last answer that the server sent.

    Iteration ends when every input is answered. A call that fails raises an UnrolledError, and so does every later
    read; what went wrong with the inputs is raised as it is. A call that this program closed before its end raises
    Cancelled when it is read again. One task at a time may read.
    """

    def __init__(self, connection: AsyncConnection, reading: Reading) -> None:
        super().__init__(reading)
        self._connection = connection
        self._is_cancelled = asyncio.Event()
        self._call = connection.step(reading.begin())

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    async def __anext__(self) -> Output:
        try:
            while not self._unread and not self._reading.is_over:
                await self._read_on()
        except asyncio.CancelledError:
            # It stands for a cancelled task, and for a call closed here, alone or with its client.
            self.cancel()
            if is_task_cancelled():
                raise
        if self._unread and self._reading.error is None:
            return self._next_unread()
        self._reading.check()
        raise StopAsyncIteration

    async def read(self) -> tuple[Output, ...]:
        """Wait for the end and return all answers that were not iterated over before: those are not kept.

        Raises:
            UnrolledError: the call broke or was closed before its end.
        """
        async with self:
            return tuple([output async for output in self])

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

    async def _read_on(self) -> None:
        """Wait for the next answers; where the call breaks before any, make it again if that does no harm."""
        try:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                self._reading.complete()
            else:
                self._unread.extend(self._reading.take(message))
        except grpc.RpcError as failure:
            await self._break(self._connection.error_of(self._call, failure))

    async def _break(self, error: UnrolledError) -> None:
        pause_s = self._reading.pause_s(error)
        if pause_s is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_cancelled.wait(), pause_s)
        if pause_s is None or self._is_cancelled.is_set():
            self._reading.fail(error)
            return
        try:
            self._follow(self._connection.step(self._reading.begin()))
        except UnrolledError as ending:
            self._reading.fail(ending)

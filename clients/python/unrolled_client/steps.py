"""The answers of a Step call, synchronous."""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import grpc

from unrolled_client.answered import Answered
from unrolled_client.answers import Output
from unrolled_client.connection import Connection
from unrolled_client.errors import UnrolledError
from unrolled_client.wire.reading import Reading


class Steps(Answered):
    """The answers to a sequence, one an input, while they arrive: iterate over them, inside of a `with`.

    The inputs are taken by a thread of their own as fast as the server computes them, so they may wait for the
    answers before them. Leave the `with` block, by `break` or by an exception, and the call is cancelled; on a
    session the state is then that after the last answer that the server sent.

    Iteration ends when every input is answered. A call that fails raises an UnrolledError, and so does every later
    read; what went wrong with the inputs is raised as it is. A call that this program closed before its end raises
    Cancelled when it is read again. One thread at a time may read; any thread may cancel.
    """

    def __init__(self, connection: Connection, reading: Reading) -> None:
        super().__init__(reading)
        self._connection = connection
        self._is_cancelled = threading.Event()
        self._call = connection.step(reading.begin())

    def __iter__(self) -> Iterator[Output]:
        return self

    def __next__(self) -> Output:
        while not self._unread and not self._reading.is_over:
            self._read_on()
        if self._unread and self._reading.error is None:
            return self._next_unread()
        self._reading.check()
        raise StopIteration

    def read(self) -> tuple[Output, ...]:
        """Wait for the end and return all answers that were not iterated over before: those are not kept.

        Raises:
            UnrolledError: the call broke or was closed before its end.
        """
        with self:
            return tuple(self)

    def cancel(self) -> None:
        """Stop reading; the call is cancelled unless it has ended. Doing so again changes nothing."""
        super().cancel()
        self._is_cancelled.set()

    def close(self) -> None:
        """Do the same as cancel."""
        self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_on(self) -> None:
        """Wait for the next answers; where the call breaks before any, make it again if that does no harm."""
        try:
            for message in self._call:
                self._unread.extend(self._reading.take(message))
                return
            self._reading.complete()
        except grpc.RpcError as failure:
            self._break(self._connection.error_of(self._call, failure))

    def _break(self, error: UnrolledError) -> None:
        pause_s = self._reading.pause_s(error)
        if pause_s is None or self._is_cancelled.wait(pause_s):
            self._reading.fail(error)
            return
        try:
            self._follow(self._connection.step(self._reading.begin()))
        except UnrolledError as ending:
            self._reading.fail(ending)

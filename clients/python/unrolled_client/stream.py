"""The synchronous stream."""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from unrolled_client.connection import Connection
from unrolled_client.errors import UnrolledError
from unrolled_client.received import Received
from unrolled_client.values import Chunk
from unrolled_client.wire.breaks import incomplete
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.steps import Pause, Step, perform


class Stream(Received):
    """The text of one generation while it arrives: iterate over its pieces, inside of a `with`.

    The server computes until the stream ends or is closed. Leave the `with` block, by `break` or by an
    exception, and the call is cancelled; a stream that is dropped unread is cancelled too, but only when it
    is collected.

    Iteration ends when the text is complete. Where the connection or the server is lost, reading waits, connects
    again and goes on, within the bounds of the client's policy; `resumes` counts it. A call that fails raises an
    UnrolledError, and so does every later read. A stream that this program closed before its end raises Cancelled
    when it is read again, also in a thread that is waiting for text at that moment: a cut text never looks like a
    complete one. One thread at a time may read; any thread may cancel.
    """

    def __init__(self, connection: Connection, course: Course) -> None:
        super().__init__(course)
        self._connection = connection
        self._is_cancelled = threading.Event()
        first = course.begin()
        if first is not None:
            self._call = connection.start(first)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        chunk = self._receive()
        if chunk is None:
            raise StopIteration
        return chunk.text

    def chunks(self) -> Iterator[Chunk]:
        """Iterate over the pieces with their positions."""
        while (chunk := self._receive()) is not None:
            yield chunk

    def read(self) -> str:
        """Wait for the end and return the whole text, also what was iterated before.

        Raises:
            UnrolledError: the call broke or was closed before its end; `text` has what arrived.
        """
        with self:
            for _ in self:
                pass
        return self.text

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

    def _receive(self) -> Chunk | None:
        while not self._course.is_over:
            if (chunk := self._read_on()) is not None:
                return chunk
        self._transcript.check()
        return None

    def _read_on(self) -> Chunk | None:
        """Wait for the next piece; where the call ends, proceed to the next one and return None."""
        error = None
        try:
            if self._call is not None:
                for message in self._call:
                    if (chunk := self._course.take(message)) is not None:
                        return chunk
                error = incomplete()
        except grpc.RpcError as failure:
            error = self._connection.error_of(self._call, failure)
        if not self._course.is_over:
            self._proceed(error)
        return None

    def _proceed(self, error: UnrolledError | None) -> None:
        try:
            following = perform(self._course.proceed(error), self._take_step)
            self._follow(self._connection.start(following))
        except UnrolledError as ending:
            self._transcript.fail(ending)

    def _take_step(self, step: Step) -> Any:
        match step:
            case Pause():
                self._is_cancelled.wait(step.seconds)
                self._transcript.check()
                return None
            case UnaryCall():
                return self._connection.outcome_of(self._follow(self._connection.ask(step)), step)

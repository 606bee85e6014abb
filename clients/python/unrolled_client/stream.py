"""The synchronous stream."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import grpc

from unrolled_client.received import Received
from unrolled_client.values import Chunk
from unrolled_client.wire.status import error_of


class Stream(Received):
    """The text of one generation while it arrives: iterate over its pieces, inside of a `with`.

    The server computes until the stream ends or is closed. Leave the `with` block, by `break` or by an
    exception, and the call is cancelled; a stream that is dropped unread is cancelled too, but only when it
    is collected.

    Iteration ends when the text is complete. A call that breaks raises an UnrolledError, and so does every
    later read. A stream that this program closed before its end raises Cancelled when it is read again, also
    in a thread that is waiting for text at that moment: a cut text never looks like a complete one. One
    thread at a time may read; any thread may cancel.
    """

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
        if not self._transcript.is_over:
            try:
                for message in self._call:
                    if (chunk := self._transcript.take(message)) is not None:
                        return chunk
                self._transcript.end()
            except grpc.RpcError as failure:
                self._transcript.fail(error_of(failure))
        self._transcript.check()
        return None

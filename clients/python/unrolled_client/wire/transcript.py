"""What is known of one generation: the text so far and how it ended."""

from collections.abc import Callable

import grpc

from unrolled.v1 import generation_pb2
from unrolled_client.errors import Cancelled, IncompleteStream, UnrolledError
from unrolled_client.values import Chunk, Finish
from unrolled_client.wire import replies


class Transcript:
    """The received part of a stream. The first ending counts; whatever comes after it changes nothing."""

    def __init__(self, on_position: Callable[[int], None] | None = None) -> None:
        """Begin empty.

        Args:
            on_position: called with every position that the server reports.
        """
        self.finish: Finish | None = None
        self.error: UnrolledError | None = None
        self.position: int | None = None
        self._on_position = on_position
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """Return the text received so far."""
        return "".join(self._pieces)

    @property
    def is_over(self) -> bool:
        """Tell whether the stream has ended, well or badly."""
        return self.finish is not None or self.error is not None

    def take(self, message: generation_pb2.GenerateResponse) -> Chunk | None:
        """Note a message; return its piece of text, None for the finish and for events of newer servers."""
        event = message.WhichOneof("event")
        if self.is_over or event is None:
            return None
        if event == "finish":
            self.finish = replies.finish(message.finish)
            self._advance(self.finish.position)
            return None
        chunk = replies.chunk(message.chunk)
        self._pieces.append(chunk.text)
        self._advance(chunk.position)
        return chunk

    def fail(self, error: UnrolledError) -> None:
        """Note that the call ended with an error."""
        if not self.is_over:
            self.error = error

    def end(self) -> None:
        """Note that the call ended without an error."""
        message = "the stream ended without a finish, its text may be incomplete"
        self.fail(IncompleteStream(message, code=grpc.StatusCode.INTERNAL))

    def close(self) -> None:
        """Note that this program stops reading."""
        self.fail(Cancelled("this program closed the stream before its end", code=grpc.StatusCode.CANCELLED))

    def check(self) -> None:
        """Raise the error that the stream ended with, if it did."""
        if self.error is not None:
            raise self.error

    def _advance(self, position: int) -> None:
        self.position = position
        if self._on_position is not None:
            self._on_position(position)

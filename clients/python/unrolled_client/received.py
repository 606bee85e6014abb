"""What a stream shows of the text that it has received, waiting for nothing."""

from collections.abc import Callable
from typing import Any

from unrolled_client.values import Finish
from unrolled_client.wire.transcript import Transcript


class Received:
    """The part of a stream that is the same for synchronous and asynchronous readers."""

    def __init__(self, call: Any, on_position: Callable[[int], None] | None = None) -> None:
        """Begin to follow a running call.

        Args:
            call: the gRPC call.
            on_position: called with every position that the server reports.
        """
        self._call = call
        self._transcript = Transcript(on_position)

    @property
    def text(self) -> str:
        """Return the text received so far."""
        return self._transcript.text

    @property
    def position(self) -> int | None:
        """Return the position after the text received so far, in tokens; None before the first piece."""
        return self._transcript.position

    @property
    def finish(self) -> Finish | None:
        """Return how the generation ended; None before its end."""
        return self._transcript.finish

    @property
    def seed(self) -> int | None:
        """Return the seed that was used; None before the end."""
        return None if self.finish is None else self.finish.seed

    def cancel(self) -> None:
        """Stop reading; the call is cancelled unless it has ended. Doing so again changes nothing."""
        self._transcript.close()
        self._call.cancel()

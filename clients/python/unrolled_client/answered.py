"""What a Step call shows of the answers that it has received, waiting for nothing."""

from collections import deque
from typing import Any

from unrolled_client.answers import Output
from unrolled_client.wire.reading import Reading


class Answered:
    """The part of a Step call that is the same for synchronous and asynchronous readers."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._call: Any = None
        self._has_begun = False
        self._unread: deque[Output] = deque()

    @property
    def position(self) -> int | None:
        """Return how many inputs the history has up to the last output that was read; None before the first."""
        return (self._reading.position or 0) - len(self._unread) if self._has_begun else None

    @property
    def is_over(self) -> bool:
        """Tell whether the call has ended: complete, failed or closed. Outputs may still be unread."""
        return self._reading.is_over

    def cancel(self) -> None:
        """Stop reading; the call is cancelled unless it has ended. Doing so again changes nothing."""
        self._reading.close()
        if self._call is not None:
            self._call.cancel()

    def _follow(self, call: Any) -> Any:
        """Make a gRPC call the one that `cancel` cancels, and return it."""
        self._call = call
        if self._reading.is_over:  # another thread cancelled in between
            call.cancel()
        return call

    def _next_unread(self) -> Output:
        self._has_begun = True
        return self._unread.popleft()

"""Whether something that may be down is worth asking: a failure shuts the gate for a while.

Owns the pauses and knows nothing of what is behind the gate. Runs on the event loop.
"""

import time
from collections.abc import Callable


class Gate:
    """Lets callers through, until one of them fails; then one at a time, after pauses that double.

    Args:
        shortest_s: the first pause in seconds.
        longest_s: where the pauses stop to grow, in seconds.
        clock: seconds that never go back.
    """

    def __init__(
        self, *, shortest_s: float = 0.25, longest_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._clock = clock
        self._pause_s = 0.0
        self._shut_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last that was heard was an answer."""
        return not self._pause_s

    def admit(self) -> float:
        """Return 0 to let the caller through, else the seconds to stay away.

        The one who is let through a gate that was shut is a probe: the others stay away for another, longer pause.
        """
        if self.is_open:
            return 0.0
        if (left_s := self._shut_until - self._clock()) > 0:
            return left_s
        self._pause(min(2 * self._pause_s, self._longest_s))
        return 0.0

    def open(self) -> None:
        """Take in that there was an answer."""
        self._pause_s = 0.0

    def shut(self) -> float:
        """Take in that there was none; return the seconds to stay away.

        Of many that fail together the first one counts.
        """
        if self.is_open:
            self._pause(self._shortest_s)
        return max(self._shut_until - self._clock(), self._shortest_s)

    def _pause(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._shut_until = self._clock() + pause_s

"""A token bucket: a rate that may be exceeded for a while, as long as it is kept on average.

It may be overdrawn: work is counted when it is done, and whoever has done too much rests until the debt is paid.
Used by engines' threads and by the event loop.
"""

from contextlib import AbstractContextManager, nullcontext


class Budget:
    """Tokens that flow in continuously and are spent in lumps.

    Args:
        rate: tokens a second, above 0.
        burst: tokens that gather at most, above 0.
        lock: held while it changes; the default suits one thread.
    """

    def __init__(self, rate: float, burst: float, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = nullcontext() if lock is None else lock
        self._empty_at = float("-inf")  # the moment at which the bucket is, or was, just empty
        self.set(rate, burst)

    def set(self, rate: float, burst: float) -> None:
        """Change what flows in and what gathers; a debt is paid at the new rate from now on."""
        self._rate = rate
        self._burst_s = burst / rate

    def spend(self, tokens: int, now: float) -> None:
        """Take tokens out, also those that are not there."""
        with self._lock:
            self._empty_at = max(self._empty_at, now - self._burst_s) + tokens / self._rate

    def seconds_left(self, now: float) -> float:
        """Return the seconds until there is something to spend; 0 where there is."""
        return max(0.0, self._empty_at - now)

    def is_full(self, now: float) -> bool:
        """Return whether no more can gather."""
        return self._empty_at + self._burst_s <= now

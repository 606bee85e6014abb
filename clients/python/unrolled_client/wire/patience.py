"""Whether a failed call is made again, and when. One `Patience` for each call; it waits for nothing itself."""

import random
import time
from collections.abc import Callable
from math import inf

from unrolled_client.errors import Unreachable, UnrolledError
from unrolled_client.values import ResumePolicy

JITTER = 0.2


class Patience:
    """What is left of a policy: attempts and seconds without progress, and the call's own time."""

    def __init__(
        self,
        policy: ResumePolicy,
        timeout_s: float | None = None,
        *,
        can_move: Callable[[UnrolledError], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin now.

        Args:
            policy: the bounds.
            timeout_s: seconds for the call with all its repetitions; None: no limit.
            can_move: tells whether the next attempt after an error meets another server, which need not be waited for.
            clock: tells the time in seconds.
            draw: draws a number from 0 to 1.
        """
        self._policy = policy
        self._can_move = can_move
        self._clock = clock
        self._draw = draw
        self._deadline_s = inf if timeout_s is None else clock() + timeout_s
        self._failures = 0
        self._since_s: float | None = None
        self._has_met_server = False

    def remaining_s(self) -> float | None:
        """Return the seconds that the call may still take; None: no limit."""
        return None if self._deadline_s == inf else max(self._deadline_s - self._clock(), 0.0)

    def renew(self) -> None:
        """Note progress: the bounds begin anew at the next failure."""
        self._failures = 0
        self._since_s = None
        self.meet()

    def meet(self) -> None:
        """Note that a server has answered, with whatever."""
        self._has_met_server = True

    def pause_s(self, error: UnrolledError) -> float | None:
        """Return the seconds to wait before the next attempt; None: there shall be none.

        Args:
            error: how the last attempt failed.
        """
        now_s = self._clock()
        self._since_s = now_s if self._since_s is None else self._since_s
        self._has_met_server |= not isinstance(error, Unreachable)
        limit_s = self._policy.timeout_s if self._has_met_server else self._policy.connect_timeout_s
        pause_s = 0.0 if self._can_move(error) else error.retry_after_s
        pause_s = self._backoff_s() if pause_s is None else pause_s
        self._failures += 1
        is_too_late = now_s + pause_s >= min(self._since_s + limit_s, self._deadline_s)
        return None if is_too_late or self._failures > self._policy.max_attempts else pause_s

    def _backoff_s(self) -> float:
        longest_s, spread = self._policy.max_backoff_s, 1 + JITTER * (2 * self._draw() - 1)
        # Doubling stops where it no longer matters: 2.0 ** 1024 would not fit a float.
        return min(self._policy.initial_backoff_s * 2.0 ** min(self._failures, 64), longest_s) * spread

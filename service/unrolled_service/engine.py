"""The engine: lanes, the sessions and streams on them, and whose turn it is.

Its parts stand in modules of their own, each upon the one before: the lanes (``lineup``), what is asked of sessions
(``session_calls``), and the calls that run (``stream_calls``). Everything up to here runs on one thread, in a plain
loop: no asyncio, no gRPC, no locks.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from unrolled_service.lineup import make_lanes
from unrolled_service.models.bundle import Bundle
from unrolled_service.registry import Origin
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.slice import Slice
from unrolled_service.settings import Settings
from unrolled_service.stream_calls import StreamCalls


class SliceFailed(Exception):
    """A slice broke off; the argument is the key of the lane, the cause says why."""


class Engine(StreamCalls):
    """Holds the lanes and the sessions, and advances the lanes in turn, a slice at a time.

    Args:
        bundles: what to serve; their names differ.
        settings: limits.
        clock: monotonic seconds.
        mark: last character of the session ids made here; tells engines apart.
        serials: numbers sessions in the order of creation, across engines.
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        *,
        mark: str = "0",
        serials: Iterator[int] | None = None,
    ) -> None:
        super().__init__(settings, clock, Origin(mark, count(1) if serials is None else serials))
        for bundle in bundles:
            self.add(make_lanes(bundle, settings))

    def slice(self, before_run: Callable[[], None] = lambda: None) -> Slice | None:
        """Advance the next lane that has a row to run; return None if none has.

        Args:
            before_run: called just before the lane's program runs; the moment to wake other threads.

        Raises:
            SliceFailed: a defect; the streams of the model it names cannot go on.
        """
        for i, lane in enumerate(self._turns):
            try:
                done = lane.slice(self._clock(), before_run)
            except Exception as error:
                raise SliceFailed(lane.key) from error
            if done:
                self._turns = self._turns[i + 1 :] + self._turns[: i + 1]
                return done
        return None

    def seconds_to_wake(self) -> float | None:
        """Return the seconds until there is something to do if nothing happens before, or None."""
        now = self._clock()
        waits_s = [self.registry.seconds_to_expiry(), *(lane.scheduler.seconds_to_rouse(now) for lane in self._turns)]
        return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)

    def fail(self, error: Exception, *, key: str | None = None) -> list[Delivery]:
        """Stop computing every stream, or those of one lane; return the news for their callers."""
        lanes = [lane for lane in self._turns if key in (None, lane.key)]
        news = []
        for lane in lanes:
            for stream in list(lane.scheduler):
                lane.stop(stream)
                stream.state = None  # it may have taken tokens that the stream does not know of
                news.append(Delivery(stream.sink, "", stream.sent, error=error))
        return news

"""Engines side by side, each on its own thread: for hosts with more cores than one engine can use.

A session stays on the worker that made it; the last character of its id says which. A call without a
session goes to the worker with the fewest calls. Runs on the event loop.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from unrolled_service.bridge.driver import Driver
from unrolled_service.engine import Engine
from unrolled_service.lineup import Lanes, make_lanes
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.slice import Slice
from unrolled_service.sessions.session import SessionInfo
from unrolled_service.settings import Settings
from unrolled_service.stream_calls import no_place
from unrolled_service.tenants.occupancy import Occupancy

_MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_WORKERS = len(_MARKS)


@dataclass(frozen=True, slots=True)
class Worker:
    """An engine and the driver that runs it.

    Attributes:
        calls: the calls that there are, by the key of their lane; the engine may be about to hear of some. To be read
            and changed on the event loop.
    """

    engine: Engine
    driver: Driver
    calls: defaultdict[str, Occupancy] = field(default_factory=lambda: defaultdict(Occupancy))

    @property
    def load(self) -> int:
        """How many calls there are."""
        return sum(places.total for places in self.calls.values())


class Workers:
    """All workers of a server; they share the bundles and divide sessions and streams among them.

    Args:
        bundles: what to serve; names must differ.
        settings: how many workers, and the limits of all together.
        on_slice: called on the event loop with what each slice did.
    """

    def __init__(self, bundles: Sequence[Bundle], settings: Settings, on_slice: Callable[[Slice], None]) -> None:
        number, serials = settings.engine_threads, count(1)
        share = settings.model_copy(
            update={
                "max_sessions": -(-settings.max_sessions // number),
                "max_streams": -(-settings.max_streams // number),
                "max_waiting_tokens": -(-settings.max_waiting_tokens // number),
            }
        )
        engines = [Engine(bundles, share, mark=mark, serials=serials) for mark in _MARKS[:number]]
        self._share = share
        self._workers = [Worker(engine, Driver(engine, on_slice)) for engine in engines]

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    @property
    def streams(self) -> int:
        """Rows that were submitted and not closed."""
        return sum(worker.engine.streams for worker in self)

    @property
    def is_crowded(self) -> bool:
        """Whether anywhere more rows want to run than may."""
        return any(worker.engine.is_crowded for worker in self)

    def make_lanes(self, bundle: Bundle) -> list[Lanes]:
        """Make what each worker needs to serve a bundle. Any thread may call it."""
        return [make_lanes(bundle, self._share) for _ in self]

    def owned_by(self, owner: str) -> int:
        """Return how many sessions a tenant has."""
        return sum(worker.engine.registry.owned_by(owner) for worker in self)

    def of_session(self, session_id: str) -> Worker:
        """Return the worker of a session; some worker, which does not know it, if there is no such session."""
        place = _MARKS.find(session_id[-1:])
        return self._workers[place if 0 <= place < len(self._workers) else 0]

    def for_stream(self) -> Worker:
        """Return the worker with the fewest calls; its engine need not have heard of them yet."""
        return min(self._workers, key=lambda worker: worker.load)

    def check_room(self, tenant: str) -> None:
        """Refuse a call of a tenant that is to have a place, if no bundle has one for it.

        Raises:
            QueueFull
        """
        limit = self._share.max_streams
        places = [worker.calls.get(key) for worker in self for key in worker.engine.every_lane]
        if places and all(each is not None and not each.has_room(tenant, limit) for each in places):
            raise no_place(limit)

    def for_session(self) -> Worker:
        """Return the worker with the fewest sessions."""
        return min(self._workers, key=lambda worker: len(worker.engine.registry))

    async def sessions(self, after: int, limit: int, *, owner: str) -> list[SessionInfo]:
        """Return up to ``limit`` sessions of an owner, oldest first, made after the one with serial ``after``."""
        pages = [await worker.driver.call(_list, worker.engine, after, limit, owner) for worker in self]
        return list(islice(heapq.merge(*pages, key=lambda session: session.serial), limit))


def _list(engine: Engine, after: int, limit: int, owner: str) -> list[SessionInfo]:
    return [engine.registry.describe(session) for session in engine.registry.page(after, limit, owner=owner)]

"""Which bundles are served: adds and takes them away on every worker, between slices, while all others go on.

A bundle that loses its name to a newer one is kept for the sessions and streams that it has, and goes when they are
gone. One that is unloaded goes with them. Runs on the event loop; what takes long, beside it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from unrolled_service.bridge.workers import Workers
from unrolled_service.errors import Draining, ModelNotFound
from unrolled_service.lanes.lane import Lane
from unrolled_service.metrics import Metrics
from unrolled_service.models.bundle import Bundle

_CLOSING_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Unloaded:
    """What became of what a bundle had.

    Attributes:
        streams: that ran, and were ended when the grace time was over.
        sessions: that were given up.
        is_gone: its memory is free; else it goes with its last stream, whose caller takes no news.
    """

    streams: int
    sessions: int
    is_gone: bool


class Catalog:
    """The bundles of a server.

    Args:
        workers: all of them serve the same bundles.
        metrics: know the models by name.

    Attributes:
        on_change: awaited after every change.
    """

    def __init__(self, workers: Workers, metrics: Metrics) -> None:
        self._workers = workers
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self.on_change: Callable[[], Awaitable[None]] = _ignore

    @property
    def served(self) -> list[Bundle]:
        """Bundles that new calls find by name."""
        return [lane.bundle for lane in next(iter(self._workers)).engine.lanes.values()]

    @property
    def every(self) -> list[Bundle]:
        """Bundles that are served, and those that are kept."""
        return [lane.bundle for lane in next(iter(self._workers)).engine.every_lane.values()]

    def lanes(self, key: str) -> list[Lane]:
        """Return the lanes of a bundle, one a worker; to be read only."""
        found = (worker.engine.every_lane.get(key) for worker in self._workers)
        return [lane for lane in found if lane is not None]

    async def add(self, bundle: Bundle) -> bool:
        """Serve a bundle under its name; return whether that is a change.

        Args:
            bundle: one that has proved itself.
        """
        async with self._turn:
            if any(each.host == bundle.host for each in self.served):
                return False
            made = await asyncio.to_thread(self._workers.make_lanes, bundle)
            self._metrics.add_model(bundle.name)
            for worker, lanes in zip(self._workers, made, strict=True):
                await worker.driver.call(worker.engine.add, lanes)
            await self.on_change()
            return True

    async def remove(self, model: str, sha256: str, grace_s: float) -> Unloaded:
        """Serve a bundle no more: new calls are refused, its idle sessions end, its streams have the grace time.

        Args:
            model: its name.
            sha256: which of those that have or had the name; empty for the one that has it.
            grace_s: after it, streams end with DRAINING and their sessions with them.

        Raises:
            ModelNotFound: there is none.
        """
        key = self._find(model, sha256)
        async with self._turn:
            given_up = 0
            for worker in self._workers:
                given_up += await worker.driver.call(worker.engine.leave, key)
            await self.on_change()
        streams = 0
        if not await self._is_empty_within(grace_s, key):
            streams = sum(lane.streams for lane in self.lanes(key))
            for worker in self._workers:
                worker.driver.deliver(await worker.driver.call(worker.engine.fail, Draining(), key=key))
            await self._is_empty_within(_CLOSING_S, key)
        given_up += await self.sweep()
        self._metrics.count_unloaded(given_up)
        return Unloaded(streams, given_up, not self.lanes(key))

    async def sweep(self) -> int:
        """Let go of bundles that have nothing left; return how many sessions were given up."""
        before, given_up = len(self.every), 0
        for worker in self._workers:
            given_up += await worker.driver.call(worker.engine.sweep)
        if len(self.every) != before:
            await self.on_change()
        return given_up

    async def watch(self, interval_s: float) -> None:
        """Sweep at intervals, as long as there is something to sweep."""
        while True:
            await asyncio.sleep(interval_s)
            if len(self.every) > len(self.served):
                self._metrics.count_unloaded(await self.sweep())

    def _find(self, model: str, sha256: str) -> str:
        named = [each for each in self.every if each.name == model]
        current = [each for each in self.served if each.name == model]
        found = [each for each in named if each.sha256 == sha256] if sha256 else current
        if not found:
            which = f"{model!r} with sha256 {sha256}" if sha256 else f"{model!r}"
            raise ModelNotFound(f"no model {which} is served")
        return found[0].host.key

    async def _is_empty_within(self, limit_s: float, key: str) -> bool:
        deadline = time.monotonic() + limit_s
        while any(lane.streams for lane in self.lanes(key)):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True


async def _ignore() -> None:
    """Do nothing."""

"""How calls are divided among engines."""

import asyncio
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from unrolled_service.bridge.workers import Workers
from unrolled_service.errors import QueueFull
from unrolled_service.models.bundle import load_bundle
from unrolled_service.settings import Settings


def test_calls_that_no_engine_has_heard_of_are_divided_evenly(tmp_path: Path) -> None:
    """No engine runs here: as in a burst, where the last call comes before the first is begun."""
    bundle = load_bundle(write_bundle(tmp_path / "alphabet"))
    key = bundle.host.key

    async def divide() -> None:
        workers = Workers([bundle], Settings(engine_threads=3), lambda _: None)
        for _ in range(9):
            workers.for_stream().calls[key].add("")
        assert [worker.calls[key].total for worker in workers] == [3, 3, 3]

        last = list(workers)[-1]
        last.calls[key].remove("")
        assert workers.for_stream() is last

    asyncio.run(divide())


def test_there_is_no_room_when_no_engine_has_a_place_of_any_bundle(tmp_path: Path) -> None:
    bundles = [load_bundle(write_bundle(tmp_path / name, name=name)) for name in ("a", "b")]

    async def fill() -> None:
        workers = Workers(bundles, Settings(engine_threads=2, max_streams=2), lambda _: None)
        for worker in workers:
            for bundle in bundles:
                workers.check_room("")
                worker.calls[bundle.host.key].add("")
        with pytest.raises(QueueFull, match="all 1 places"):
            workers.check_room("")
        worker.calls[bundle.host.key].remove("")
        workers.check_room("")

    asyncio.run(fill())


def test_where_nothing_is_served_that_is_said_instead_of_no_room() -> None:
    async def ask() -> None:
        Workers([], Settings(), lambda _: None).check_room("")

    asyncio.run(ask())

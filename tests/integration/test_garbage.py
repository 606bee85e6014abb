"""What got older and is garbage is collected, unless there is a crowd."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled_service import garbage, server
from unrolled_service.garbage import collect_older
from unrolled_service.models.bundle import Bundle

INTERVAL_S = 0.01


class Circle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def no_other_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def make_older_garbage() -> weakref.ref[Circle]:
    """Return what outlives a collection of young objects and is garbage only then."""
    circle = Circle()
    gc.collect(0)
    seen = weakref.ref(circle)
    del circle
    gc.collect(0)
    return seen


def test_older_garbage_goes_while_there_is_no_crowd() -> None:
    async def scenario() -> None:
        is_crowded, asked = True, 0

        def ask() -> bool:
            nonlocal asked
            asked += 1
            return is_crowded

        seen = make_older_garbage()
        collecting = asyncio.create_task(collect_older(ask, INTERVAL_S))
        while asked < 3:
            await asyncio.sleep(INTERVAL_S)
        assert seen() is not None
        is_crowded, asked = False, 0
        while asked < 2:
            await asyncio.sleep(INTERVAL_S)
        assert seen() is None
        collecting.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_server_collects_it(alphabet: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "collect_older", lambda is_crowded: collect_older(is_crowded, INTERVAL_S))
    monkeypatch.setattr(server, "spare_collections", lambda: None)  # the process goes on after this test
    with serving(alphabet, engine_threads=1):
        seen = make_older_garbage()
        wait_until(lambda: seen() is None, "older garbage is collected", limit_s=10)


def test_what_lives_as_long_as_the_process_is_never_looked_at() -> None:
    thresholds = gc.get_threshold()
    lasting = Circle()
    gc.set_threshold(700, 10, 10)
    try:
        garbage.spare_collections()
        assert not any(each is lasting for each in gc.get_objects())
        assert gc.get_threshold()[:2] == (1_000, 5_000)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)

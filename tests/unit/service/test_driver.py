import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.alphabet import greedy_text, write_bundle
from tests.support.loop import Reader
from unrolled_service.bridge.driver import Driver
from unrolled_service.bridge.outbox import Outbox
from unrolled_service.engine import Engine
from unrolled_service.models.bundle import load_bundle
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.slice import Slice
from unrolled_service.settings import Settings


async def with_driver(tmp_path: Path, scenario: object) -> list[Slice]:
    slices: list[Slice] = []
    engine = Engine([load_bundle(write_bundle(tmp_path / "alphabet"))], Settings())
    driver = Driver(engine, slices.append)
    driver.start()
    try:
        await scenario(engine, driver)  # type: ignore[operator]
    finally:
        await driver.stop()
    return slices


def test_calls_answer_and_raise(tmp_path: Path) -> None:
    async def scenario(engine: Engine, driver: Driver) -> None:
        session = await driver.call(engine.create_session, "", seed=1, ttl_s=None)
        assert await driver.call(engine.session, session.id) is session
        with pytest.raises(ZeroDivisionError):
            await driver.call(divmod, 1, 0)

    asyncio.run(with_driver(tmp_path, scenario))


def test_a_caller_that_has_gone_away_gets_no_answer_and_does_no_harm(tmp_path: Path) -> None:
    async def scenario(engine: Engine, driver: Driver) -> None:
        waiting = asyncio.ensure_future(driver.call(engine.create_session, "", seed=1, ttl_s=None))
        await asyncio.sleep(0)
        waiting.cancel()
        assert len(await driver.call(engine.registry.page, 0, 10)) == 1

    asyncio.run(with_driver(tmp_path, scenario))


def test_a_command_without_an_answer_that_fails_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(engine: Engine, driver: Driver) -> None:
        driver.post(divmod, 1, 0)
        await driver.call(engine.registry.expire)

    asyncio.run(with_driver(tmp_path, scenario))

    assert "a command without an answer failed" in caplog.text


def test_idle_sessions_expire_while_nobody_asks(tmp_path: Path) -> None:
    async def scenario(engine: Engine, driver: Driver) -> None:
        await driver.call(engine.create_session, "", seed=1, ttl_s=0.01)
        async with asyncio.timeout(10):
            while engine.lanes["alphabet"].sessions:
                await asyncio.sleep(0.001)

    asyncio.run(with_driver(tmp_path, scenario))


def test_what_a_slice_did_and_what_was_answered_wake_the_loop_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []  # on the engine's thread
    gate = threading.Event()

    def note_slices(engine: Engine) -> None:
        advance = engine.slice

        def note_slice(before_run: Callable[[], None]) -> Slice | None:
            events.append("slice")
            done = advance(before_run)
            if done:
                events.append("done")
            return done

        monkeypatch.setattr(engine, "slice", note_slice)

    def note_wake_ups(loop: asyncio.AbstractEventLoop) -> None:
        wake = loop.call_soon_threadsafe

        def note_wake_up(*args: Any, **options: Any) -> asyncio.Handle:
            if threading.current_thread().name == "engine":
                events.append("wake")
            return wake(*args, **options)

        monkeypatch.setattr(loop, "call_soon_threadsafe", note_wake_up)

    async def read(box: Outbox) -> str:
        parcel = await box.take()
        return parcel.text if parcel.finish else parcel.text + await read(box)

    async def scenario(engine: Engine, driver: Driver) -> None:
        note_slices(engine)
        note_wake_ups(asyncio.get_running_loop())
        driver.post(gate.wait, 10)  # what is sent meanwhile is obeyed together
        asked = asyncio.gather(*(driver.call(engine.create_session, "", seed=n, ttl_s=None) for n in range(5)))
        boxes = [Outbox() for _ in range(20)]
        for box in boxes:
            driver.open(engine.submit, box, "", Generation(np.zeros(1, np.int64), 30, max_chunk_tokens=1), box)
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(10):
            texts = await asyncio.gather(*(read(box) for box in boxes))
            assert len({session.id for session in await asked}) == 5
        assert texts == [greedy_text("a", 30)] * 20

    slices = asyncio.run(with_driver(tmp_path, scenario))

    wake_ups = [turn.count("wake") for turn in " ".join(events).split("slice")]
    assert max(wake_ups) == 1
    assert "done wake" not in " ".join(events)  # it waits for the next run to begin
    assert events.count("done") == len(slices) >= 1


def test_news_of_many_rows_leave_the_loop_time_for_others_and_keep_their_order(tmp_path: Path) -> None:
    async def read(box: Outbox) -> str:
        text = ""
        while len(text) < 2:
            text += (await box.take()).text
        return text

    async def scenario(_: Engine, driver: Driver) -> None:
        boxes, turns = [Outbox() for _ in range(100)], 0
        driver.deliver([Delivery(box, "a", 1) for box in boxes])
        driver.deliver([Delivery(box, "b", 2) for box in boxes])
        readers = asyncio.gather(*(read(box) for box in boxes))
        async with asyncio.timeout(10):
            while not readers.done():
                await asyncio.sleep(0)
                turns += 1
        assert readers.result() == ["ab"] * 100
        assert 5 < turns < 50

    asyncio.run(with_driver(tmp_path, scenario))


def test_where_rows_wait_a_call_can_be_taken_in_between_two_messages_and_news_merge_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(_: Engine, driver: Driver) -> None:
        boxes, turns = [Outbox() for _ in range(20)], 0
        monkeypatch.setattr(Engine, "is_crowded", True)
        driver.deliver([Delivery(box, "a", 1) for box in boxes])
        driver.deliver([Delivery(box, "b", 2) for box in boxes])
        readers = asyncio.gather(*(box.take() for box in boxes[1:]))
        async with asyncio.timeout(10):
            while not readers.done():
                await asyncio.sleep(0)
                turns += 1
        assert [parcel.text for parcel in readers.result()] == ["ab"] * 19
        assert turns >= 4 * 19
        assert (await boxes[0].take()).text == "a"  # it was told at once
        assert (await boxes[0].take()).text == "b"

    asyncio.run(with_driver(tmp_path, scenario))


def test_an_engine_is_crowded_where_rows_wait_for_places(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "alphabet"))
    engine = Engine([bundle], Settings(max_rows=1))
    streams = [engine.submit("", Generation(np.zeros(1, np.int64), 10), Reader()) for _ in range(2)]
    engine.slice()

    assert engine.is_crowded
    engine.close(streams[0])
    engine.slice()
    assert not engine.is_crowded

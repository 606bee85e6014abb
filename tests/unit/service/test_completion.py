import asyncio
from typing import Any

import pytest

from unrolled_service.bridge.completion import complete
from unrolled_service.errors import Draining


def test_work_goes_on_without_its_caller_and_its_refusal_is_no_defect() -> None:
    async def scenario() -> list[dict[str, Any]]:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        running: set[asyncio.Task[Any]] = set()
        came, may_go_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            came.set()
            await may_go_on.wait()
            raise Draining

        caller = asyncio.create_task(complete(work(), running))
        await came.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (task,) = running
        may_go_on.set()
        await asyncio.wait([task])
        del task
        await asyncio.sleep(0)
        assert not running
        return faults

    assert asyncio.run(scenario()) == []


def test_who_waits_hears_of_it() -> None:
    async def refuse() -> None:
        raise Draining

    async def answer() -> int:
        return 3

    async def scenario() -> int:
        with pytest.raises(Draining):
            await complete(refuse(), set())
        return await complete(answer(), set())

    assert asyncio.run(scenario()) == 3

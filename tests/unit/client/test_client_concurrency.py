import asyncio
import threading

import pytest

from tests.unit.client.fake_server import PATIENCE_S, FakeServer, Hang, letters
from unrolled_client import AsyncClient, Client, errors


def test_another_thread_can_cancel_a_waiting_reader(fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    with Client(fake.target) as client, client.generate("x", max_tokens=9) as stream:
        assert next(stream) == "abc"
        canceller = threading.Timer(0.05, stream.cancel)
        canceller.start()
        with pytest.raises(errors.Cancelled, match="this program closed"):
            stream.read()
        canceller.join()
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_another_task_can_cancel_a_waiting_reader(fake: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(fake.target) as client, client.generate("x", max_tokens=9) as stream:
            assert await anext(stream) == "abc"
            asyncio.get_running_loop().call_later(0.05, stream.cancel)
            with pytest.raises(errors.Cancelled, match="this program closed"):
                await stream.read()

    fake.script = ["abc", Hang()]
    asyncio.run(scenario())
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_cancelling_the_reading_task_cancels_the_call(fake: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(fake.target) as client:
            stream = client.generate("x", max_tokens=9)
            assert await anext(stream) == "abc"
            reading = asyncio.create_task(stream.read())
            asyncio.get_running_loop().call_later(0.05, reading.cancel)
            with pytest.raises(asyncio.CancelledError):
                await reading
            with pytest.raises(errors.Cancelled):
                await anext(stream)
            assert await asyncio.to_thread(fake.was_cancelled.wait, PATIENCE_S)

    fake.script = ["abc", Hang()]
    asyncio.run(scenario())


def test_a_timeout_block_around_a_stream_times_out(fake: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(fake.target) as client, client.generate("x", max_tokens=9) as stream:
            assert await anext(stream) == "abc"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stream.read()

    fake.script = ["abc", Hang()]
    asyncio.run(scenario())
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_many_streams_run_at_once(fake: FakeServer) -> None:
    async def scenario() -> list[str]:
        async with AsyncClient(fake.target) as client:
            streams = [client.generate("x", max_tokens=n) for n in range(1, 9)]
            return await asyncio.gather(*(stream.read() for stream in streams))

    assert asyncio.run(scenario()) == [letters(n) for n in range(1, 9)]


def test_a_client_made_before_the_loop_works_in_it(fake: FakeServer) -> None:
    client = AsyncClient(fake.target)

    async def scenario() -> str:
        async with client:
            return await client.generate("x", max_tokens=3).read()

    assert asyncio.run(scenario()) == "abc"

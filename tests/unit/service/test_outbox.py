import asyncio

from unrolled_service.bridge.outbox import Outbox, Parcel
from unrolled_service.rows.delivery import Delivery


def test_unread_news_merge() -> None:
    async def scenario() -> list[Parcel]:
        outbox = Outbox()
        outbox.put(Delivery(outbox, "a", 1))
        first = await outbox.take()
        for position, text in enumerate("bcd", 2):
            outbox.put(Delivery(outbox, text, position))
        outbox.put(Delivery(outbox, "", 4, error=RuntimeError("over")))
        return [first, await outbox.take()]

    first, second = asyncio.run(scenario())

    assert (first.text, first.position, first.error) == ("a", 1, None)
    assert (second.text, second.position) == ("bcd", 4)
    assert isinstance(second.error, RuntimeError)


def test_a_reader_waits_for_news() -> None:
    async def scenario() -> Parcel:
        outbox = Outbox()
        reader = asyncio.ensure_future(outbox.take())
        await asyncio.sleep(0)
        assert not reader.done()
        outbox.put(Delivery(outbox, "late", 4))
        return await reader

    assert asyncio.run(scenario()).text == "late"

import asyncio
from itertools import chain

import pytest

from unrolled_service.bridge.outbox import Outbox, Parcel, split
from unrolled_service.rows.delivery import Answer, Delivery, Described, Item


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


@pytest.mark.parametrize(
    ("item", "most", "sizes"),
    [
        (Answer([0.5] * 10_000), 0, [6, 6, 6, 2]),
        (Answer([0.5] * 10_000), 4, [4] * 5),
        (Answer([0.5] * 70_000), 0, [1] * 20),
        (Answer([0.5] * 2, [0.25] * 256), 0, [20]),
        (Described(-1.0, [(0, -1.0)] * 20, [0.5] * 10_000), 0, [6, 6, 6, 2]),
    ],
)
def test_a_piece_is_no_larger_than_readers_take(item: Item, most: int, sizes: list[int]) -> None:
    text = "x" * 20 if isinstance(item, Described) else ""

    pieces = list(split(Parcel(text, 120, [item] * 20, None, None), most))

    assert [len(piece.items) for piece in pieces] == sizes
    assert [piece.position for piece in pieces] == [100 + sum(sizes[: i + 1]) for i in range(len(sizes))]
    assert "".join(piece.text for piece in pieces) == text
    assert list(chain.from_iterable(piece.items for piece in pieces)) == [item] * 20


def test_a_text_is_split_by_its_characters_alone() -> None:
    assert [piece.text for piece in split(Parcel("abcde", 5, [], None, None), 2)] == ["ab", "cd", "e"]
    assert [piece.text for piece in split(Parcel("abcde", 5, [], None, None), 0)] == ["abcde"]
    assert list(split(Parcel("", 5, [], None, None), 0)) == []


def test_a_failure_stays_whatever_comes_after_it() -> None:
    async def scenario() -> Parcel:
        outbox = Outbox()
        outbox.put(Delivery(outbox, "", 4, error=RuntimeError("over")))
        outbox.put(Delivery(outbox, "", 4, finish="done"))
        return await outbox.take()

    assert isinstance(asyncio.run(scenario()).error, RuntimeError)

"""A feeder takes the next message when the one before is computed, and passes on how the reading ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import numpy as np
import pytest

from unrolled_service.bridge.outbox import Parcel
from unrolled_service.errors import InvalidField
from unrolled_service.rows.row import Row
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rpc.claim import Claim
from unrolled_service.rpc.feeder import Feeder


class Desk:
    """A claim whose row is a list of what it was fed."""

    class Started:
        start = 100

    def __init__(self) -> None:
        self.fed: list[int] = []
        self.is_ended = self.is_refused = False
        self.row = self.Started()
        self.engine = self

    def send(self, act: Callable[[Row], object]) -> None:
        act(cast(Row, self.row))

    def feed(self, _: Row, inputs: Inputs) -> None:
        assert not self.is_ended
        self.fed.append(len(inputs))

    def end(self, _: Row, *, is_refused: bool) -> None:
        self.is_ended, self.is_refused = True, is_refused


def parcel(position: int) -> Parcel:
    return Parcel("", 100 + position, [], None, None)


async def give(*sizes: int | Exception) -> AsyncIterator[int | Exception]:
    for size in sizes:
        yield size


def read(request: Any) -> Inputs:
    if isinstance(request, Exception):
        raise request
    return np.zeros(request, np.int64)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_message_is_fed_once_the_ones_before_are_computed() -> None:
    async def check() -> None:
        desk = Desk()
        feeder = Feeder(cast(Claim, desk), give(5, 7, 1), read, 3)
        async with feeder.reading():
            await settle()
            assert desk.fed == []
            feeder.note(parcel(2))
            await settle()
            assert desk.fed == []
            feeder.note(parcel(3))
            await settle()
            assert (desk.fed, feeder.fed) == ([5], 8)
            feeder.note(parcel(7))
            await settle()
            assert desk.fed == [5]
            feeder.note(parcel(8))
            feeder.note(parcel(8))
            await settle()
            assert desk.fed == [5, 7]
            assert not desk.is_ended
            feeder.note(parcel(15))
            await settle()
            assert desk.fed == [5, 7, 1]
            assert desk.is_ended
            assert not desk.is_refused
            assert feeder.error is None

    asyncio.run(check())


def test_nothing_is_waited_for_where_the_first_message_has_no_inputs() -> None:
    async def check() -> None:
        desk = Desk()
        async with Feeder(cast(Claim, desk), give(2, 2), read, 0).reading():
            await settle()
            assert desk.fed == [2]

    asyncio.run(check())


@pytest.mark.parametrize("error", [InvalidField("inputs", "must not"), RuntimeError("a defect")])
def test_what_cannot_be_read_ends_the_reading_and_is_passed_on(error: Exception) -> None:
    async def check() -> None:
        desk = Desk()
        feeder = Feeder(cast(Claim, desk), give(2, error, 4), read, 0)
        async with feeder.reading():
            await settle()
        assert desk.fed == [2]
        assert desk.is_ended
        assert desk.is_refused
        assert feeder.error is error

    asyncio.run(check())


def test_a_call_that_is_over_reads_no_more() -> None:
    async def check() -> None:
        desk = Desk()
        feeder = Feeder(cast(Claim, desk), give(5, 7), read, 3)
        async with feeder.reading():
            await settle()
        feeder.note(parcel(3))
        await settle()
        assert desk.fed == []
        assert not desk.is_ended

    asyncio.run(check())

"""The messages of a call that sends more than one, made as they are taken.

A transport takes them in its own time: a thread of gRPC's, or a task. What goes wrong with the caller's inputs there
is kept for whoever waits for the answer, and the call is cancelled.
"""

import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeAlias

from unrolled.v1 import sequence_pb2
from unrolled_client.answers import Item
from unrolled_client.wire.inputs import cut, cut_all, is_at_once

Given: TypeAlias = str | Iterable[Item]
AsyncGiven: TypeAlias = Given | AsyncIterable[Item]


class Feed:
    """An opening, then inputs.

    Attributes:
        is_repeatable: all inputs were there at the beginning, so that they can be sent again.
    """

    def __init__(self, kind: Any, opening: sequence_pb2.Opening, given: AsyncGiven) -> None:
        """Prepare the messages.

        Args:
            kind: the messages' type, with an `opening` and `inputs`.
            opening: what the first one carries.
            given: a text or vectors, which are cut into messages; or anything else that is iterated over, each item
                a message.

        Raises:
            TypeError: inputs that are all there are no inputs, or they cannot be iterated over.
        """
        self._kind = kind
        self._opening = opening
        self._items = given
        self._messages: list[Any] | None = None
        self._fault: BaseException | None = None
        self._stop: weakref.WeakMethod[Callable[[], Any]] | None = None
        self._is_attached = threading.Event()
        self.is_repeatable = is_at_once(given)
        if self.is_repeatable:
            self._messages = [*self._write(cut_all(given))]  # type: ignore[arg-type]
        elif not isinstance(given, (Iterable, AsyncIterable)):
            raise TypeError(f"inputs are a text, vectors, or an iterable of these, not {given!r}")

    def attach(self, stop: Callable[[], Any]) -> None:
        """Say how to cancel the call that takes the messages: a method of the call, which is not kept alive."""
        self._stop = weakref.WeakMethod(stop)
        self._is_attached.set()

    def check(self) -> None:
        """Raise what went wrong with the inputs, if something did."""
        if self._fault is not None:
            raise self._fault

    def __iter__(self) -> Iterator[Any]:
        if self._messages is not None:
            return iter(self._messages)
        if isinstance(self._items, Iterable):
            return self._follow(self._items)
        raise TypeError("an asynchronous iterable of inputs needs an AsyncClient")

    async def __aiter__(self) -> AsyncIterator[Any]:
        if not isinstance(self._items, AsyncIterable):
            for message in self:
                yield message
            return
        yield self._kind(opening=self._opening)  # by itself: a server waits for the first message only so long
        try:
            async for item in self._items:
                for part in cut(item):
                    yield self._kind(inputs=part)
        except Exception as fault:
            self._fail(fault)

    def _follow(self, items: Iterable[Item]) -> Iterator[Any]:
        yield self._kind(opening=self._opening)
        try:
            for item in items:
                for part in cut(item):
                    yield self._kind(inputs=part)
        except Exception as fault:
            self._fail(fault)

    def _fail(self, fault: BaseException) -> None:
        """Keep a fault and cancel the call, so that what was read so far is not taken for all."""
        self._fault = fault
        self._is_attached.wait()
        stop = None if self._stop is None else self._stop()
        if stop is not None:
            stop()

    def _write(self, parts: Iterable[sequence_pb2.Inputs]) -> Iterator[Any]:
        opening: sequence_pb2.Opening | None = self._opening
        for part in parts:
            yield self._kind(opening=opening, inputs=part)
            opening = None

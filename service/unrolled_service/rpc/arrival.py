"""What calls bring: messages that parse, the first of which comes in time. Runs on the event loop.

gRPC itself waits for a message for as long as the connection lives. So every method is to gRPC one that takes many
messages, which on the wire looks the same, and those that take one read it here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from unrolled_service.errors import InvalidField, ReaderStalled
from unrolled_service.rpc.caller import caller
from unrolled_service.telemetry.calls import current_call

SESSION_KEY = "x-session-id"
_STREAMS = ("/unrolled.v1.GenerationService/", "/unrolled.v1.SequenceService/")  # what their methods run, quotas count
MAX_OPEN_BYTES = 1024
_MALFORMED = object()  # takes the place of a request whose bytes are no message
_TOO_LONG = object()  # and of one that is longer than what the method takes


class Arrivals:
    """Waits for the messages of calls.

    Args:
        limit_s: how long a call may be without its first message.
        count: counts a tenant's call that is to have a stream while it waits for its first message, or refuses it.
        check_room: refuses a tenant's call that is to have a stream and says no session; the default refuses none.
    """

    def __init__(
        self,
        limit_s: float,
        count: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
        check_room: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._limit_s = limit_s
        self._count = count
        self._check_room = check_room

    def one(self, behaviour: Callable[..., Any], method: str, *, is_stream: bool) -> Callable[..., Any]:
        """Return a behaviour that reads the message of another by itself; its own argument counts for nothing.

        A call that is to have a stream is refused before that where there is no room whatever its message says: reading
        is a good part of what a refusal costs. One that says its session is read, for it may take another's place.
        """
        needs_room = is_stream and method.startswith(_STREAMS)

        async def answer(_: object, context: grpc.aio.ServicerContext) -> Any:
            if needs_room:
                call = current_call()
                if call is None or call.read_metadata(SESSION_KEY) is None:
                    self._check_room(caller().tenant)
            request = await self._first(context.read, method)
            if request is grpc.aio.EOF:  # the caller has gone away
                raise asyncio.CancelledError
            return await behaviour(_checked(request), context)

        return answer

    async def each(self, requests: AsyncIterator[Any], method: str) -> AsyncIterator[Any]:
        """Yield the messages of a call of a method that takes many.

        Raises:
            InvalidField: one is malformed, or too long.
            ReaderStalled: the first one does not come.
            QuotaExceeded: the tenant has no more calls.
        """
        rest = aiter(requests)
        first = await self._first(partial(anext, rest, grpc.aio.EOF), method)
        if first is not grpc.aio.EOF:
            yield _checked(first)
        async for request in rest:
            yield _checked(request)

    async def _first(self, read: Callable[[], Awaitable[Any]], method: str) -> Any:
        counted = self._count(caller().tenant) if method.startswith(_STREAMS) else nullcontext()
        try:
            with counted:
                async with asyncio.timeout(self._limit_s):
                    return await read()
        except TimeoutError:
            raise ReaderStalled(f"the first message did not come within {self._limit_s:g} s") from None


def lenient(parse: Callable[[bytes], Any] | None, *, is_open: bool) -> Callable[[bytes], Any] | None:
    """Return a parser that answers with a mark instead of raising.

    Args:
        parse: makes a message of bytes.
        is_open: of a method that anybody may call: its calls may stay for long, and their messages with them, so these
            are short.
    """
    if parse is None:
        return None

    def attempt(content: bytes) -> Any:
        if is_open and len(content) > MAX_OPEN_BYTES:
            return _TOO_LONG
        try:
            return parse(content)
        except DecodeError:
            return _MALFORMED

    return attempt


def _checked(request: Any) -> Any:
    """Return a request that is no mark of one that cannot be taken, or raise where it is."""
    if request is _TOO_LONG:
        raise InvalidField("request", f"must have at most {MAX_OPEN_BYTES} bytes")
    if request is _MALFORMED:
        raise InvalidField("request", "is not a message of the method's request type")
    return request

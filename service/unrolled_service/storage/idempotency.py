"""Makes the repetition of a call harmless: what was answered once under a key is answered again.

Runs on the event loop.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from unrolled_service.bridge.completion import complete
from unrolled_service.errors import IdempotencyConflict

REMEMBERED_S = 600.0
_R = TypeVar("_R", bound=Message)


@dataclass(slots=True)
class _Call:
    digest: bytes
    until: float
    reply: bytes | None = None  # an eighth of what the message takes
    kind: type[Message] = Message


class Idempotency:
    """The calls of the last ten minutes that came with a key.

    Where too many are remembered, the tenant with most of them loses its oldest. However many tenants and keys there
    are, that takes O(1), amortised.

    Args:
        clock: seconds that never go back.
        limit: how many are remembered at most.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, limit: int = 10_000) -> None:
        self._clock = clock
        self._limit = limit
        self._calls: OrderedDict[tuple[str, str], _Call] = OrderedDict()  # the oldest first
        self._keys: dict[str, OrderedDict[str, None]] = {}  # of each tenant, the oldest first
        self._tenants: dict[int, dict[str, None]] = {}  # by how many keys they have
        self._most = 0  # keys of a tenant
        self._running: set[asyncio.Task[Any]] = set()

    async def once(self, key: str, request: Message, answer: Callable[[], Awaitable[_R]], *, owner: str = "") -> _R:
        """Return the answer to a request, or the one that was given to it before; without a key there is none before.

        Args:
            key: the caller's; the same key of another tenant is another key.
            request: what is asked.
            answer: does what is asked.
            owner: the tenant who asks.

        Raises:
            IdempotencyConflict: the key came with another request, or its call is still running.
        """
        if not key:
            return await answer()
        mark = (owner, key)
        now = self._clock()
        while self._calls and next(iter(self._calls.values())).until <= now:
            self._forget(next(iter(self._calls)))
        content = request.DESCRIPTOR.full_name.encode() + request.SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).digest()
        if call := self._calls.get(mark):
            if call.digest != digest:
                raise IdempotencyConflict("the idempotency_key was used with other fields")
            if call.reply is None:
                raise IdempotencyConflict("the call with this idempotency_key is still running", retry_after_s=0.1)
            return cast("_R", call.kind.FromString(call.reply))
        call = _Call(digest, now + REMEMBERED_S)
        self._remember(mark, call)
        if len(self._calls) > self._limit:
            most = next(iter(self._tenants[self._most]))
            self._forget((most, next(iter(self._keys[most]))))

        async def remember() -> _R:
            try:
                reply = await answer()
                call.reply, call.kind = reply.SerializeToString(), type(reply)
            except BaseException:
                if self._calls.get(mark) is call:
                    self._forget(mark)
                raise
            return reply

        # A caller that goes away will ask again, and must then find what was made for it.
        return await complete(remember(), self._running)

    def _remember(self, mark: tuple[str, str], call: _Call) -> None:
        owner, key = mark
        self._calls[mark] = call
        keys = self._keys.setdefault(owner, OrderedDict())
        keys[key] = None
        self._count(owner, len(keys) - 1, len(keys))

    def _forget(self, mark: tuple[str, str]) -> None:
        owner, key = mark
        keys = self._keys[owner]
        del self._calls[mark], keys[key]
        self._count(owner, len(keys) + 1, len(keys))
        if not keys:
            del self._keys[owner]

    def _count(self, owner: str, before: int, now: int) -> None:
        """Note that a tenant has one key more, or one less."""
        if before:
            del self._tenants[before][owner]
            if not self._tenants[before]:
                del self._tenants[before]
        if now:
            self._tenants.setdefault(now, {})[owner] = None
        if now > self._most or (before == self._most and before not in self._tenants):
            self._most = now

"""Links between the members of a cluster, which delay, fall silent, reset, slow down and cut where they are told to.

Each link is a TCP port that carries connections to a target. All run on one event loop on a thread of its own.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from math import inf
from types import TracebackType
from typing import Any, Self

_LIMIT_S = 30
_PIECE_BYTES = 16_384
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


@dataclass(frozen=True)
class Impairment:
    """What is wrong with a link, for connections that are there and for new ones.

    Attributes:
        delay_s: seconds that each piece waits, in either direction.
        bytes_per_s: bytes that a connection carries a second, in either direction.
        is_silent: nothing passes. What waits passes afterwards.
        is_reset: connections are reset.
        cuts: bytes of answers after which the first connection is reset, then the second, and so on; those that are
            there come first, and when all are used up no more are cut.
    """

    delay_s: float = 0.0
    bytes_per_s: float = inf
    is_silent: bool = False
    is_reset: bool = False
    cuts: Sequence[int] = ()


SOUND = Impairment()


class Network:
    """Links by the names of who connects and to whom; a context manager that closes them.

    Attributes:
        cut: how many connections were cut in the middle of what they carried.
    """

    def __init__(self) -> None:
        self.cut = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._wires: dict[tuple[str, str], _Wire] = {}

    def link(self, source: str, target: str, address: str) -> str:
        """Return the ``host:port`` that the source dials to reach the target at its own ``host:port``."""
        wire = self._wires.get((source, target))
        if wire is None:
            wire = self._wires[source, target] = _Wire(address, self._count)
            self._wait(wire.start())
        return wire.address

    def impair(self, source: str, target: str, impairment: Impairment) -> None:
        """Make this wrong with a link, and nothing else."""
        self._wait(self._wires[source, target].impair(impairment))

    def heal(self, source: str, target: str) -> None:
        """Make a link sound."""
        self.impair(source, target, SOUND)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in self._wires.values():
            self._wait(wire.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()

    def _count(self) -> None:
        self.cut += 1

    def _wait(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_LIMIT_S)


@dataclass(eq=False)
class _Connection:
    """Two streams of bytes.

    Attributes:
        left: bytes of answers that it carries yet.
    """

    near: asyncio.StreamWriter
    left: float
    far: asyncio.StreamWriter | None = None

    @property
    def writers(self) -> list[asyncio.StreamWriter]:
        return [self.near] if self.far is None else [self.near, self.far]

    def reset(self) -> None:
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@dataclass(eq=False)
class _Wire:
    """One link, on the event loop."""

    target: str
    count: Callable[[], None]
    address: str = ""
    impairment: Impairment = SOUND
    connections: dict[_Connection, asyncio.Task[None]] = field(default_factory=dict)
    cuts: Iterator[float] = field(default_factory=lambda: repeat(inf))

    async def start(self) -> None:
        self._is_changed = asyncio.Event()
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        tasks = [*self.connections.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def impair(self, impairment: Impairment) -> None:
        self.impairment = impairment
        self.cuts = iter(impairment.cuts)
        for connection in self.connections:
            connection.left = next(self.cuts, inf)
            if impairment.is_reset:
                connection.reset()
        self._is_changed.set()
        self._is_changed = asyncio.Event()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer, next(self.cuts, inf))
        task = asyncio.current_task()
        if task is None or self.impairment.is_reset:
            connection.reset()
            return
        self.connections[connection] = task
        directions: list[asyncio.Task[None]] = []
        try:
            await self._hold(0)
            host, _, port = self.target.rpartition(":")
            there, connection.far = await asyncio.open_connection(host, int(port))
            directions = [
                asyncio.create_task(self._copy(reader, connection.far)),
                asyncio.create_task(self._answer(there, connection)),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            connection.close()  # what was written goes out
        except BaseException as error:
            connection.abort()
            if not isinstance(error, OSError):
                raise
        finally:
            del self.connections[connection]
            for each in directions:
                each.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await self._hold(len(piece))
            writer.write(piece)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await self._hold(len(piece))
            if len(piece) > connection.left:
                connection.near.write(piece[: int(connection.left)])
                await connection.near.drain()
                self.count()
                return
            connection.left -= len(piece)
            connection.near.write(piece)
            await connection.near.drain()

    async def _hold(self, size: int) -> None:
        """Wait as long as so many bytes take; when the link changes, no longer for what was wrong with it."""
        while self.impairment.is_silent:
            await self._is_changed.wait()
        wait_s = self.impairment.delay_s + size / self.impairment.bytes_per_s
        if wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._is_changed.wait()

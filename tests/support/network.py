"""A network between a client and a server that breaks where it is told to."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

_LIMIT_S = 30
_PIECE_BYTES = 4096


class Network:
    """Carries connections to a server and cuts them, each after so many bytes of what the server says.

    Args:
        target: ``host:port`` of the server.
        cuts: bytes that the first connection carries, then the second, and so on; later ones are not cut.

    Attributes:
        address: where it listens, once it runs.
        cut: how many connections were cut.
    """

    def __init__(self, target: str, cuts: Sequence[int]) -> None:
        self.address = ""
        self.cut = 0
        self._host, _, self._port = target.rpartition(":")
        self._cuts = iter(cuts)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = next(self._cuts, inf)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        try:
            up = asyncio.create_task(_copy(reader, back, inf))
            down = asyncio.create_task(_copy(there, writer, left))
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            self.cut += down.done() and not down.cancelled() and down.result()
        finally:
            for each in (up, down):
                each.cancel()
            writer.transport.abort()
            back.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: float) -> bool:
    """Copy at most so many bytes; return whether there were more."""
    try:
        while piece := await reader.read(_PIECE_BYTES):
            if len(piece) > left:
                writer.write(piece[: int(left)])
                await writer.drain()
                return True
            left -= len(piece)
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    return False


@contextmanager
def breaking_network(target: str, cuts: Sequence[int]) -> Iterator[Network]:
    """Run a network until the block ends, on a thread of its own; the arguments are those of ``Network``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="network")
    thread.start()
    network = Network(target, cuts)
    try:
        asyncio.run_coroutine_threadsafe(network.start(), loop).result(_LIMIT_S)
        yield network
    finally:
        asyncio.run_coroutine_threadsafe(network.stop(), loop).result(_LIMIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LIMIT_S)
        loop.close()

"""Several real servers side by side, with or without a store between them."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.cluster.ports import free_addresses
from tests.support.redis import RedisServer
from tests.support.server import ServerProcess, running_server

ENDLESS = 100_000_000
LIMIT_S = 60.0
LONG = 12_000  # more than fits between server and reader with a small window


class Fleet:
    """Servers that share keys and a store, each in a process of its own that ends with the stack.

    Args:
        stack: ends the servers.
        folder: for the file of keys.
        redis: the store; None for none.
    """

    def __init__(self, stack: ExitStack, folder: Path, redis: RedisServer | None = None) -> None:
        self._stack = stack
        self.keys = folder / "snapshot.keys"
        if not self.keys.exists():
            self.keys.touch(mode=0o600)
            self.keys.write_text(f"test:{'5' * 64}\n")
        self._settings: dict[str, Any] = {
            "snapshot_keys": str(self.keys),
            "max_tokens": ENDLESS,
            "engine_threads": 1,
        }
        if redis is not None:
            self._settings |= {"store": redis.url, "store_interval_s": 0.05, "store_lease_s": 1}

    def start(self, bundle: Path, **settings: Any) -> ServerProcess:
        """Start a server of a bundle; another one can take its address when it is gone."""
        chosen = {"listen": next(free_addresses())} | self._settings | settings
        return self._stack.enter_context(running_server(bundle, **chosen))


def kill(server: ServerProcess) -> None:
    """End a server as a crash does."""
    server.process.kill()
    server.process.wait(LIMIT_S)

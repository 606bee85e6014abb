"""A real Redis server in a process of its own, which tests stop, freeze, kill and start again."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.support.programs import demand
from tests.support.server import wait_until

STOP_LIMIT_S = 30.0


class RedisServer:
    """A Redis server on a socket in a folder of its own.

    Args:
        folder: for the socket, the log and the data.
        options: further options by name, with ``_`` for ``-``.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._options = {"save": "", "appendonly": "no", "port": "0", **options}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a password."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it on the data that the folder has, and wait until it serves."""
        command = [str(demand("redis-server")), "--dir", str(self._folder), "--unixsocket", str(self._socket)]
        for name, value in self._options.items():
            command += [f"--{name.replace('_', '-')}", value]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._serves, "Redis serves")

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Make it take connections and answer nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def connect(self) -> Redis:
        """Return a client for what a test wants to see or to spoil; to be closed."""
        return Redis(unix_socket_path=str(self._socket), password=self._options.get("requirepass"))

    def _serves(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"Redis ended:\n{(self._folder / 'log').read_text()}")
        try:
            with self.connect() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._send(number)
        self._send(signal.SIGCONT)  # a frozen process hears of SIGTERM when it goes on
        self._process.wait(STOP_LIMIT_S)
        self._process = None


@contextmanager
def running_redis(**options: str) -> Iterator[RedisServer]:
    """Run a Redis server until the block ends; the process is gone afterwards, whatever happened.

    Args:
        options: options of the server by name, with ``_`` for ``-``; without any it keeps nothing on disk.
    """
    with tempfile.TemporaryDirectory(prefix="unrolled-redis-") as folder:
        server = RedisServer(Path(folder), **options)
        try:
            server.start()
            yield server
        finally:
            server.kill()

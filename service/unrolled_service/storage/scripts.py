"""A Redis server, as the Lua scripts that run on it: each call one round trip, within a time limit.

The only module that imports redis. It owns the connections and turns whatever goes wrong with them into
``StoreUnavailable``; it does not know what the scripts are about. Runs on the event loop.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from unrolled_service.errors import StoreUnavailable
from unrolled_service.storage.gate import Gate

OnOperation = Callable[[str, float, bool], None]
_SCHEMES = {"redis", "rediss", "unix"}
_OPTIONS = {
    "redis": {"db"},
    "rediss": {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"},
    "unix": {"db", "password"},
}
_log = logging.getLogger(__name__)


def locate(url: str) -> str:
    """Return where a Redis URL points, fit to be shown: without user, password and options.

    Args:
        url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` likewise, or
            ``unix://[user@]/path[?db=0&password=…]``.

    Raises:
        ValueError: it is none; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its message would quote what may be a part of the password
        raise ValueError("the store's URL cannot be read; escape the special characters of its password") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("the store's URL must begin with redis://, rediss:// or unix://")
    if parts.fragment:
        raise ValueError("the store's URL has a #; write it as %23")
    if unknown := options.keys() - _OPTIONS[parts.scheme]:
        raise ValueError(f"the store's URL has {len(unknown)} options other than {sorted(_OPTIONS[parts.scheme])}")
    if not all(re.fullmatch(r"\d{1,5}", db) for db in options.get("db", [])):
        raise ValueError("the store's URL has a database that is no number")
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.hostname:
            raise ValueError("the store's URL must have an absolute path: unix:///run/redis.sock")
        return f"unix://{parts.path}"
    if not parts.hostname:
        raise ValueError("the store's URL has no host")
    if not re.fullmatch(r"(/\d{0,5})?", parts.path):
        raise ValueError("the store's URL has a database that is no number; escape a / of its password as %2F")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or 6379}{parts.path}"


class Scripts:
    """The scripts in the folder ``lua`` of this package, on one server.

    A call is made once: only its caller can know whether to make it again.

    Args:
        url: see ``locate``.
        names: the scripts, by their files' names without ``.lua``.
        timeout_s: limit of a call in seconds, with all that it needs: a place, a connection, the answer.
        connections: calls that may be under way at once; others wait for a place.
        on_operation: told the name of each call that was made, its seconds, and whether there was an answer.
        gate: of this server alone; None: a new one.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        names: Sequence[str],
        *,
        timeout_s: float,
        connections: int = 16,
        on_operation: OnOperation | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.place = locate(url)
        self._timeout_s = timeout_s
        self._on_operation = on_operation
        self._gate = gate or Gate()
        self._places = asyncio.Semaphore(connections)
        self._redis = Redis.from_url(url)
        folder = resources.files("unrolled_service.storage") / "lua"
        self._scripts = {name: self._redis.register_script((folder / f"{name}.lua").read_text()) for name in names}

    @property
    def is_available(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._gate.is_open

    async def run(self, name: str, keys: Sequence[str], *arguments: str | bytes | int) -> list[Any]:
        """Run a script and return what it does, a list.

        Raises:
            StoreUnavailable: there was no answer, or an error; or there was none a moment ago.
        """
        if left_s := self._gate.admit():
            raise _unavailable(left_s)
        script = self._scripts[name]
        return cast(list[Any], await self._ask(name, lambda: script(keys=keys, args=arguments)))

    async def ping(self) -> bool:
        """Ask the server whether it answers, also if it did not a moment ago."""
        try:
            await self._ask("ping", lambda: cast(Awaitable[bool], self._redis.ping()))
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.aclose()
        except (RedisError, OSError) as error:
            _log.warning("the connections to %s did not close: %s", self.place, error)

    async def _ask(self, name: str, question: Callable[[], Awaitable[Any]]) -> Any:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s), self._places:
                answer = await question()
        except (RedisError, OSError) as error:
            self._note(name, began, ok=False)
            if self._gate.is_open:
                _log.warning("%s does not serve: %s: %s", self.place, type(error).__name__, error)
            raise _unavailable(self._gate.shut()) from error
        self._note(name, began, ok=True)
        if not self._gate.is_open:
            _log.info("%s serves again", self.place)
            self._gate.open()
        return answer

    def _note(self, name: str, began: float, *, ok: bool) -> None:
        if self._on_operation:
            self._on_operation(name, time.perf_counter() - began, ok)


def _unavailable(retry_after_s: float) -> StoreUnavailable:
    return StoreUnavailable("the session store does not answer", retry_after_s=retry_after_s)

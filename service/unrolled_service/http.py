"""/metrics, /healthz and /readyz over HTTP, or HTTPS, on threads of their own.

So many connections are there at most, and each for so long.
"""

import io
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from unrolled_service.callers.authentication import Authentication
from unrolled_service.callers.certificates import Certificates
from unrolled_service.callers.scopes import OPEN_PAGES, PAGES
from unrolled_service.errors import PermissionDenied, Unauthenticated

MAX_CONNECTIONS = 64
_LIMIT_S = 10.0
_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_CHALLENGE = ("WWW-Authenticate", "Bearer")
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class OperatorServer:
    """Serves operators' pages until it is stopped.

    Args:
        host, port: where to listen; port 0 takes a free one.
        registry: what /metrics shows.
        readiness: what /readyz says; nothing for no.
        authentication: tells readers apart; None shows anybody everything.
        certificates: what readers are shown; None talks in clear text.
        limit_s: how long a connection lasts, from its first byte to its last, to within half a second.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        readiness: Callable[[], str],
        *,
        authentication: Authentication | None,
        certificates: Certificates | None,
        limit_s: float = _LIMIT_S,
    ) -> None:
        self._authentication = authentication
        self._metrics: _Application = make_wsgi_app(registry)
        self._readiness = readiness
        try:
            bare = host.removeprefix("[").removesuffix("]")
            self._server = make_server(bare, port, self._route, _ServerV6 if ":" in bare else _Server, _Handler)
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._server.certificates = certificates
        self._server.limit_s = limit_s
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Port that is listened on."""
        return self._server.server_port

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to answer and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut(math.inf)

    def _route(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            self._admit(environ)
        except Unauthenticated:
            return _say(start_response, "401 Unauthorized", "a valid bearer token is needed", _CHALLENGE)
        except PermissionDenied as error:
            return _say(start_response, "403 Forbidden", error.message)
        return self._show(environ, start_response)

    def _admit(self, environ: dict[str, Any]) -> None:
        if self._authentication is not None and environ["PATH_INFO"] not in OPEN_PAGES:
            shown = [environ["HTTP_AUTHORIZATION"]] if "HTTP_AUTHORIZATION" in environ else []
            self._authentication.identify(shown).check(PAGES)

    def _show(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/healthz":
                return _say(start_response, "200 OK", "ok")
            case "/readyz" if readiness := self._readiness():
                return _say(start_response, "200 OK", readiness)
            case "/readyz":
                return _say(start_response, "503 Service Unavailable", "not ready")
            case _:
                return _say(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz")


def _say(start_response: Callable[..., Any], status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start_response(status, [_PLAIN, *headers])  # the server adds the length to this list
    return [f"{text}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection on a thread of its own, and cuts off those that last too long.

    Timeouts of sockets would not do: they begin anew with every byte.
    """

    daemon_threads = True
    certificates: Certificates | None = None
    limit_s = _LIMIT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ends: dict[socket.socket, float] = {}  # when each connection must be over
        self._secure: dict[socket.socket, socket.socket] = {}  # what TLS made of a connection

    def process_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Take a connection, or close it at once where there are as many as may be."""
        if len(self._ends) >= MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._ends[request] = time.monotonic() + self.limit_s
        try:
            super().process_request(request, client_address)
        except BaseException:  # there is no thread that would forget it
            self._forget(request)
            raise

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Answer, and forget the connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def finish_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Answer on a connection's own thread, which also waits for what TLS says first."""
        if self.certificates is None:
            super().finish_request(request, client_address)
            return
        context = self.certificates.context()
        with context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure:
            self._secure[request] = secure
            try:
                secure.do_handshake()
            except OSError:  # somebody who cannot, or may not, connect
                return
            super().finish_request(secure, client_address)

    def service_actions(self) -> None:
        """Cut off connections that last too long; called twice a second, on the thread that accepts them."""
        self.cut(time.monotonic())

    def cut(self, now: float) -> None:
        """Cut off the connections that must be over by now."""
        for request, end_s in tuple(self._ends.items()):
            if now >= end_s:
                with suppress(OSError):  # it is over by itself
                    # That of TLS would take away what the connection's thread reads with.
                    socket.socket.shutdown(self._secure.get(request, request), socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _forget(self, request: socket.socket) -> None:
        del self._ends[request]
        self._secure.pop(request, None)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Writer(io.BufferedIOBase):
    """Writes to a connection, and says of a broken one what whoever writes answers is used to, also where TLS broke."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        try:
            self._connection.sendall(content)
        except OSError as error:
            raise BrokenPipeError from error
        return len(content)


class _Handler(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        self.wfile = _Writer(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a scrape every few seconds is no news."""

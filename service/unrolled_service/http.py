"""/metrics, /healthz and /readyz over HTTP, or HTTPS, on threads of their own."""

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from unrolled_service.callers.authentication import Authentication
from unrolled_service.callers.certificates import Certificates
from unrolled_service.callers.scopes import OPEN_PAGES, PAGES
from unrolled_service.errors import PermissionDenied, Unauthenticated

_REQUEST_TIMEOUT_S = 5
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
    ) -> None:
        self._authentication = authentication
        self._metrics: _Application = make_wsgi_app(registry)
        self._readiness = readiness
        try:
            self._server = make_server(host, port, self._route, _Server, _Handler)
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._server.certificates = certificates
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
    daemon_threads = True
    certificates: Certificates | None = None

    def finish_request(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Answer on a connection's own thread, which also waits for what TLS says first."""
        if self.certificates is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_REQUEST_TIMEOUT_S)
        try:
            secure = self.certificates.context().wrap_socket(request, server_side=True)
        except OSError:  # somebody who cannot, or may not, connect
            return
        with secure:
            super().finish_request(secure, client_address)


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a scrape every few seconds is no news."""

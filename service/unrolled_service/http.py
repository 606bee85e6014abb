"""/metrics, /healthz and /readyz over plain HTTP, on threads of their own."""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

_REQUEST_TIMEOUT_S = 5
_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class OperatorServer:
    """Serves operators' pages until it is stopped.

    Args:
        host, port: where to listen; port 0 takes a free one.
        registry: what /metrics shows.
        readiness: what /readyz says; nothing for no.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, readiness: Callable[[], str]) -> None:
        self._metrics: _Application = make_wsgi_app(registry)
        self._readiness = readiness
        try:
            self._server = make_server(host, port, self._route, _Server, _Handler)
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
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


def _say(start_response: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    start_response(status, [_PLAIN])  # the server adds the length to this list
    return [f"{text}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a scrape every few seconds is no news."""

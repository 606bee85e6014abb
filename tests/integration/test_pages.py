"""The operators' pages answer while others do nothing, or nearly nothing, with their connections."""

import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.support.access import Ca
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled_service.callers.certificates import Certificates
from unrolled_service.http import MAX_CONNECTIONS, OperatorServer
from unrolled_service.models.bundle import Bundle

SHORT_S, PATIENCE_S = 0.3, 30.0


@contextmanager
def pages(host: str = "127.0.0.1", limit_s: float = SHORT_S, certificates: Certificates | None = None) -> Iterator[int]:
    """Pages that are served on a port until the block ends."""
    server = OperatorServer(
        host, 0, CollectorRegistry(), lambda: "ready", authentication=None, certificates=certificates, limit_s=limit_s
    )
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def read(port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> str:
    scheme = "https" if context else "http"
    with urllib.request.urlopen(f"{scheme}://{host}:{port}/healthz", timeout=PATIENCE_S, context=context) as answer:
        return str(answer.read().decode())


def drip(connection: socket.socket) -> bool:
    """Send a byte now and then until the other side has closed; return whether it did."""
    connection.settimeout(SHORT_S / 10)
    is_over = False

    def ends() -> bool:
        nonlocal is_over
        try:
            connection.sendall(b"x")
            is_over = not connection.recv(1)
        except TimeoutError:
            pass
        except OSError:
            is_over = True
        return is_over

    wait_until(ends, "the connection is cut off", limit_s=PATIENCE_S)
    return is_over


def test_who_sends_byte_by_byte_is_cut_off_and_others_are_answered() -> None:
    with pages() as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert read(port) == "ok\n"
        assert drip(slow)
        assert read(port) == "ok\n"


@pytest.mark.parametrize("shakes_hands", [False, True])
def test_with_tls_too(tmp_path: Path, capfd: pytest.CaptureFixture[str], shakes_hands: bool) -> None:
    ca = Ca(tmp_path)
    pair = ca.issue()
    context = ssl.create_default_context(cadata=ca.pem.decode())
    with (
        pages(certificates=Certificates(pair.cert, pair.key, None)) as port,
        ExitStack() as stack,
    ):
        slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        if shakes_hands:
            slow = stack.enter_context(context.wrap_socket(slow, server_hostname="localhost"))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            assert drip(slow)
        else:
            slow.settimeout(PATIENCE_S)
            with suppress(ConnectionResetError):
                assert slow.recv(1) == b""
        assert read(port, "localhost", context) == "ok\n"
    assert "Traceback" not in capfd.readouterr().err


def test_connections_are_bounded_and_so_are_their_threads() -> None:
    before = threading.active_count()
    with pages(limit_s=PATIENCE_S) as port, ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MAX_CONNECTIONS)]
        wait_until(lambda: threading.active_count() >= before + 1 + MAX_CONNECTIONS, "all are taken in")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as more, suppress(ConnectionResetError):
            assert more.recv(1) == b""
        assert threading.active_count() == before + 1 + MAX_CONNECTIONS

        idle[0].close()

        def is_answered() -> bool:
            with suppress(OSError):
                return read(port) == "ok\n"
            return False

        wait_until(is_answered, "there is a place again")
    wait_until(lambda: threading.active_count() <= before, "every thread has ended")


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no ::1")
def test_an_address_may_be_of_ipv6(alphabet: Bundle) -> None:
    with serving(alphabet, metrics_listen="[::1]:0", listen="[::1]:0") as server:
        assert server.metrics_url.startswith("http://[::1]:")
        with urllib.request.urlopen(f"{server.metrics_url}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"ready\n"

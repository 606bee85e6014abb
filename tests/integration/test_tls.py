"""Who gets a connection: TLS, certificates of clients, and certificates that change while streams run."""

import logging
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.access import Ca, Cast, Pair, bearer, replace, tls_channel, write_tokens
from tests.support.alphabet import greedy_text
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.windows import SMALL_WINDOW
from unrolled.v1.generation_pb2 import GenerateRequest, Sampling
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.model_pb2 import ListModelsRequest
from unrolled.v1.model_pb2_grpc import ModelServiceStub
from unrolled_client import Tls
from unrolled_client.cli.scrape import ScrapeFailed, read_scrape
from unrolled_service.callers.certificates import Certificates
from unrolled_service.errors import KeyFileError
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

STREAMS = 20
TOKENS = 12_000  # more than fits between a server and a reader that waits, with a small window


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    return Cast(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "tokens", {"unr_x": "acme generate metrics"})


@pytest.fixture(scope="module")
def tls(alphabet: Bundle, people: Cast, tokens: Path) -> Iterator[Server]:
    with serving(alphabet, **people.tls, auth_tokens=tokens) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(alphabet: Bundle, people: Cast, tokens: Path) -> Iterator[Server]:
    with serving(alphabet, **people.mutual, auth_tokens=tokens) as server:
        yield server


def ask(channel: grpc.Channel, token: str | None = "unr_x") -> str:
    """Make a call and return its code; the channel is closed."""
    with channel:
        try:
            ModelServiceStub(channel).ListModels(
                ListModelsRequest(), metadata=bearer(token) if token else [], timeout=20
            )
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


def read(server: Server, path: str, ca: Ca | None, pair: Pair | None = None, token: str | None = None) -> int | str:
    """Read a page and return its status, or the kind of what went wrong."""
    context = ssl.create_default_context(cadata=ca.pem.decode() if ca else None)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    request = urllib.request.Request(server.metrics_url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (urllib.error.URLError, OSError):
        return "no connection"


def test_a_server_with_a_certificate_talks_tls_alone(tls: Server, people: Cast) -> None:
    assert ask(tls_channel(tls.address, people.ca)) == "OK"
    assert ask(tls_channel(tls.address, people.ca), token=None) == "UNAUTHENTICATED"
    assert ask(tls_channel(tls.address, people.ca), token="unr_y") == "UNAUTHENTICATED"
    assert ask(tls_channel(tls.address, people.other_ca)) == "UNAVAILABLE"
    assert ask(grpc.insecure_channel(tls.address)) == "UNAVAILABLE"
    assert ask(grpc.secure_channel(tls.address, grpc.ssl_channel_credentials())) == "UNAVAILABLE"


def test_a_name_that_is_not_the_certificates_is_no_server(tls: Server, people: Cast) -> None:
    options = [("grpc.ssl_target_name_override", "elsewhere.example")]
    channel = grpc.secure_channel(tls.address, grpc.ssl_channel_credentials(people.ca.pem), options)
    assert ask(channel) == "UNAVAILABLE"


def test_a_server_that_asks_for_certificates_gets_them_or_hangs_up(mutual: Server, people: Cast) -> None:
    assert ask(tls_channel(mutual.address, people.ca, people.client)) == "OK"
    assert ask(tls_channel(mutual.address, people.ca, people.client), token=None) == "UNAUTHENTICATED"
    assert ask(tls_channel(mutual.address, people.ca)) == "UNAVAILABLE"
    assert ask(tls_channel(mutual.address, people.ca, people.other_client)) == "UNAVAILABLE"


def test_pages_are_read_over_tls_too(tls: Server, people: Cast) -> None:
    assert tls.metrics_url.startswith("https://")
    assert read(tls, "/readyz", people.ca) == 200
    assert read(tls, "/metrics", people.ca) == 401
    assert read(tls, "/metrics", people.ca, token="unr_x") == 200
    assert read(tls, "/readyz", people.other_ca) == "no connection"
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"http://{tls.metrics_address}/readyz", timeout=10).close()


def test_pages_ask_for_certificates_too(mutual: Server, people: Cast) -> None:
    assert read(mutual, "/readyz", people.ca, people.client) == 200
    assert read(mutual, "/metrics", people.ca, people.client) == 401
    assert read(mutual, "/readyz", people.ca) == "no connection"
    assert read(mutual, "/readyz", people.ca, people.other_client) == "no connection"


def test_the_clients_certificate_opens_the_pages(mutual: Server, people: Cast) -> None:
    shown = Tls.read(ca=people.ca.path, cert=people.client.cert, key=people.client.key)
    assert read_scrape(mutual.metrics_url, shown.context(), "unr_x").readiness == "ready"
    with pytest.raises(ScrapeFailed):
        read_scrape(mutual.metrics_url, Tls.read(ca=people.ca.path).context(), "unr_x")


def test_certificates_alone_are_authentication(alphabet: Bundle, people: Cast) -> None:
    with serving(alphabet, **people.mutual) as server:
        assert ask(tls_channel(server.address, people.ca, people.client), token=None) == "OK"
        assert ask(tls_channel(server.address, people.ca), token=None) == "UNAVAILABLE"


def test_who_says_nothing_holds_up_nobody(tls: Server, people: Cast) -> None:
    """A connection that never begins its handshake has a thread of its own, not that of the others."""
    host, port = tls.metrics_address.split(":")
    with socket.create_connection((host, int(port))):
        assert read(tls, "/readyz", people.ca) == 200


def shown(address: str) -> int:
    """Return the serial number of the certificate that a new connection sees."""
    host, port = address.split(":")
    return x509.load_pem_x509_certificate(
        ssl.get_server_certificate((host, int(port)), timeout=20).encode()
    ).serial_number


def active_streams(server: Server, ca: Ca) -> float:
    context = ssl.create_default_context(cadata=ca.pem.decode())
    with urllib.request.urlopen(f"{server.metrics_url}/metrics", timeout=10, context=context) as answer:
        (line,) = [line for line in answer.read().decode().splitlines() if line.startswith("unrolled_streams_active ")]
    return float(line.split()[1])


def test_a_certificate_changes_under_open_streams(alphabet: Bundle, tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    pair = ca.issue()
    with serving(alphabet, tls_cert=pair.cert, tls_key=pair.key, max_tokens=TOKENS) as server:
        channels = [tls_channel(server.address, ca, options=SMALL_WINDOW) for _ in range(STREAMS)]
        request = GenerateRequest(prompt="a", max_tokens=TOKENS, sampling=Sampling(temperature=0))
        streams = [GenerationServiceStub(channel).Generate(request) for channel in channels]
        texts = [next(stream).chunk.text for stream in streams]
        before = shown(server.address), shown(server.metrics_address)
        assert before[0] == before[1]

        ca.issue()
        for address in (server.address, server.metrics_address):
            wait_until(lambda address=address: shown(address) != before[0], "the new certificate is shown")  # type: ignore[misc]
        assert ask(tls_channel(server.address, ca), token=None) == "OK"
        assert active_streams(server, ca) == STREAMS

        for i, stream in enumerate(streams):
            texts[i] += "".join(reply.chunk.text for reply in stream)
        assert [stream.code() for stream in streams] == [grpc.StatusCode.OK] * STREAMS
        assert texts == [greedy_text("a", TOKENS)] * STREAMS
        for channel in channels:
            channel.close()


def test_those_who_sign_clients_change_under_an_open_stream(alphabet: Bundle, tmp_path: Path) -> None:
    ca, old, new = Ca(tmp_path / "server"), Ca(tmp_path / "old"), Ca(tmp_path / "new")
    pair, before, after = ca.issue(), old.issue("client", stem="client"), new.issue("client", stem="client")
    trusted = tmp_path / "trusted.pem"
    replace(trusted, old.pem)
    files = {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": trusted}
    with serving(alphabet, **files, max_tokens=TOKENS) as server:
        with tls_channel(server.address, ca, before, SMALL_WINDOW) as channel:
            request = GenerateRequest(prompt="a", max_tokens=TOKENS, sampling=Sampling(temperature=0))
            stream = GenerationServiceStub(channel).Generate(request)
            text = next(stream).chunk.text
            assert ask(tls_channel(server.address, ca, after), token=None) == "UNAVAILABLE"
            assert read(server, "/metrics", ca, after) == "no connection"

            replace(trusted, new.pem)
            for shows in (
                lambda: ask(tls_channel(server.address, ca, after), token=None) == "OK",
                lambda: read(server, "/metrics", ca, after) == 200,
            ):
                wait_until(shows, "who signs clients now is known")
            assert ask(tls_channel(server.address, ca, before), token=None) == "UNAVAILABLE"
            assert read(server, "/metrics", ca, before) == "no connection"

            text += "".join(reply.chunk.text for reply in stream)
            assert stream.code() is grpc.StatusCode.OK
            assert text == greedy_text("a", TOKENS)


def test_a_pair_that_does_not_fit_is_not_shown(
    alphabet: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = Ca(tmp_path)
    pair, other = ca.issue(), ca.issue(stem="other")
    with serving(alphabet, tls_cert=pair.cert, tls_key=pair.key) as server:
        before = shown(server.address)
        caplog.set_level(logging.ERROR)
        replace(pair.key, other.key.read_bytes())

        def is_noticed() -> bool:
            assert shown(server.address) == before
            return any("are not a certificate and its key: key values mismatch" in each for each in caplog.messages)

        wait_until(is_noticed, "the new key is looked at")
        assert ask(tls_channel(server.address, ca), token=None) == "OK"
        replace(pair.cert, other.cert.read_bytes())
        wait_until(lambda: shown(server.address) != before, "the pair that fits again is shown")


def test_files_that_are_no_pair_are_refused_at_the_start(tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    pair, other = ca.issue(), ca.issue(stem="other")
    garbage = tmp_path / "garbage"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for cert, key, client_ca, fault in (
        (pair.cert, other.key, None, "are not a certificate and its key"),
        (garbage, pair.key, None, "are not a certificate and its key"),
        (tmp_path / "nowhere", pair.key, None, "nowhere: No such file"),
        (pair.cert, pair.key, garbage, "garbage holds no certificates"),
    ):
        with pytest.raises(KeyFileError, match=fault):
            Certificates(cert, key, client_ca)


def test_a_locked_key_is_an_error_and_not_a_question(tmp_path: Path) -> None:
    pair = Ca(tmp_path).issue()
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    lock = serialization.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    with pytest.raises(KeyFileError, match="are not a certificate and its key"):
        Certificates(pair.cert, pair.key, None)

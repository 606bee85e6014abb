"""The command line and the library against a server that talks TLS and wants a token."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.alphabet import greedy_text
from tests.system.conftest import SecureServer
from unrolled_client import AsyncClient, Client, Tls
from unrolled_client.errors import PermissionDenied, Unauthenticated, Unreachable

LIMIT_S = 60


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLED_TOKEN", raising=False)


def unrolled(secure: SecureServer, verb: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    place = ("--url", secure.server.metrics_url) if verb == "top" else ("--server", secure.server.address)
    return subprocess.run(
        [sys.executable, "-m", "unrolled_client", verb, *place, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, **environment},
    )


def test_the_verbs_show_a_token_from_a_file_or_the_environment(secure: SecureServer) -> None:
    ca, asked = str(secure.ca.path), ("a", "--max-tokens", "20", "--temperature", "0")

    by_file = unrolled(secure, "generate", *asked, "--ca", ca, "--token", str(secure.file))
    by_variable = unrolled(secure, "generate", *asked, "--ca", ca, UNROLLED_TOKEN=secure.token)

    assert (by_file.stdout, by_variable.stdout) == (greedy_text("a", 20), greedy_text("a", 20))
    for verb in ("models", "sessions"):
        assert unrolled(secure, verb, "--ca", ca, "--token", str(secure.file)).returncode == 0


def test_what_is_missing_is_said_in_one_line(secure: SecureServer, tmp_path: Path) -> None:
    ca, missing = str(secure.ca.path), str(tmp_path / "nowhere")
    for arguments, status, line in (
        (
            ("--ca", ca),
            1,
            "error: a valid bearer token is needed, in the metadata `authorization`; name the file",
        ),
        (("--tls",), 1, f"error: no server answers at {secure.server.address}"),
        ((), 1, f"error: no server answers at {secure.server.address}"),
        (
            ("--ca", ca, "--token", missing),
            2,
            "No such file or directory; the token itself belongs",
        ),
        (("--ca", missing), 2, "No such file or directory"),
        (("--ca", ca, "--cert", ca), 2, "a certificate and its key need each other"),
    ):
        result = unrolled(secure, "models", *arguments)
        assert result.returncode == status, result.stderr
        assert line in result.stderr
        assert "Traceback" not in result.stderr


def test_top_shows_a_token_from_a_file_or_the_environment(secure: SecureServer) -> None:
    once = ("--once", "--interval", "0.1", "--ca", str(secure.ca.path))

    by_file = unrolled(secure, "top", *once, "--token", str(secure.metrics_file))
    by_variable = unrolled(secure, "top", *once, UNROLLED_TOKEN=secure.metrics_file.read_text().strip())

    for result in (by_file, by_variable):
        assert (result.returncode, result.stderr) == (0, "")
        assert "alphabet" in result.stdout


def test_top_says_what_is_missing_in_one_line(secure: SecureServer) -> None:
    ca, url = str(secure.ca.path), secure.server.metrics_url
    for arguments, line in (
        (("--ca", ca), f"error: {url} answers 401 Unauthorized; name the file of a token with --token"),
        (("--ca", ca, "--token", str(secure.file)), f"error: {url} answers 403 Forbidden; ask the server's operator"),
        ((), f"error: no server answers at {url}: [SSL: CERTIFICATE_VERIFY_FAILED]"),
        (("--ca", str(secure.file)), "error: the certificates or the key cannot be used"),
    ):
        result = unrolled(secure, "top", "--once", *arguments)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
        assert result.stderr.startswith(line)


@pytest.mark.parametrize(
    ("verb", "option", "address"),
    [("models", "--server", "192.0.2.1:50051"), ("top", "--url", "http://192.0.2.1:9464")],
)
def test_a_token_does_not_travel_in_clear_text(verb: str, option: str, address: str, secure: SecureServer) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "unrolled_client", verb, option, address, "--token", str(secure.file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    place = address.removeprefix("http://")
    assert result.stderr == f"error: a token would travel to {place} in clear text; use TLS\n"


def test_the_library_takes_files_and_tokens(secure: SecureServer) -> None:
    tls = Tls.read(ca=secure.ca.path)
    with Client(secure.server.address, credentials=tls, token=secure.token) as client:
        assert client.generate("a", max_tokens=20, temperature=0).read() == greedy_text("a", 20)
        with client.session() as session:
            session.generate("ab", max_tokens=3).read()
            assert [each.id for each in client.list_sessions()] == [session.id]

    async def ask() -> str:
        async with AsyncClient(secure.server.address, credentials=tls, token=lambda: secure.token) as client:
            return await client.generate("a", max_tokens=20, temperature=0).read()

    assert asyncio.run(ask()) == greedy_text("a", 20)


def test_the_library_says_what_is_wrong(secure: SecureServer) -> None:
    tls = Tls.read(ca=secure.ca.path)
    with Client(secure.server.address, credentials=tls, token="unr_wrong") as client:
        with pytest.raises(Unauthenticated) as caught:
            client.generate("a", max_tokens=1).read()
        assert caught.value.reason == "UNAUTHENTICATED"
        assert not isinstance(caught.value, PermissionDenied)
    with Client(secure.server.address, credentials=Tls(), token=secure.token, resume=None) as client:
        with pytest.raises(Unreachable):
            client.models()


def test_the_variable_is_the_librarys_too(secure: SecureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_TOKEN", secure.token)
    with Client(secure.server.address, credentials=Tls.read(ca=secure.ca.path)) as client:
        assert client.models()

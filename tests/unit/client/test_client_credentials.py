from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.access import Ca
from tests.unit.client.fake_server import FakeServer
from unrolled_client import Tls
from unrolled_client.credentials import check_privacy, headers_of, is_local, resolve_token


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLED_TOKEN", raising=False)


@pytest.mark.parametrize(
    "target",
    [
        *("localhost:1", "127.0.0.1:50051", "127.1.2.3:1", "[::1]:50051", "dns:///localhost:1", "ipv4:127.0.0.1:1"),
        *("ipv6:[::1]:1", "unix:/run/unrolled.sock", "unix-abstract:name", "localhost", "::1"),
    ],
)
def test_this_machine_is_local(target: str) -> None:
    assert is_local(target)
    check_privacy(target, "token", None)


@pytest.mark.parametrize(
    "target",
    [
        *("example.com:1", "10.0.0.1:50051", "0.0.0.0:1", "localhost.example.com:1", "[2001:db8::1]:1", "dns:///a:1"),
        *("127.0.0.1.example.com:1", "dns://127.0.0.1/example.com:1", "xds:///localhost", "ipv4:10.0.0.1:1", ""),
    ],
)
def test_other_machines_are_not(target: str) -> None:
    assert not is_local(target)
    with pytest.raises(ValueError, match="in clear text"):
        check_privacy(target, "token", None)
    check_privacy(target, None, None)
    check_privacy(target, "token", Tls())


def test_a_token_is_the_given_one_then_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_token(None) is None
    monkeypatch.setenv("UNROLLED_TOKEN", "theirs")
    assert resolve_token(None) == "theirs"
    assert resolve_token("mine") == "mine"
    monkeypatch.setenv("UNROLLED_TOKEN", "")
    assert resolve_token(None) is None


def test_a_token_may_be_made_anew_for_every_call() -> None:
    numbers = count()
    assert headers_of(None) == ()
    assert headers_of("x") == (("authorization", "Bearer x"),)
    token = lambda: f"t{next(numbers)}"  # noqa: E731
    assert [headers_of(token)[0][1] for _ in range(2)] == ["Bearer t0", "Bearer t1"]


def test_every_call_shows_the_token(fake: FakeServer, connect: Callable[..., Any]) -> None:
    with connect(fake.target, token="x", metadata=(("also", "this"),)) as client:
        client.generate("x", max_tokens=3).read()
        client.models()
    for seen in fake.metadata:
        assert seen["authorization"] == "Bearer x"
        assert seen["also"] == "this"
    assert fake.metadata


def test_a_client_that_would_show_its_token_to_everybody_is_not_made(connect: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"a token would travel to example\.com:1 in clear text"):
        connect("example.com:1", token="x")
    connect("example.com:1", token="x", credentials=grpc.ssl_channel_credentials()).__exit__(None, None, None)


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"hidden")
    (tmp_path / "cert").write_bytes(b"open")
    assert "hidden" not in repr(Tls.read(cert=tmp_path / "cert", key=tmp_path / "key"))
    for half in ({"cert": tmp_path / "cert"}, {"key": tmp_path / "key"}):
        with pytest.raises(ValueError, match="need each other"):
            Tls.read(**half)
    with pytest.raises(OSError, match="nowhere"):
        Tls.read(ca=tmp_path / "nowhere")


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    pair, other = Ca(tmp_path / "ours").issue(), Ca(tmp_path / "theirs").issue()
    Tls.read(ca=pair.cert, cert=pair.cert, key=pair.key).context()
    for wrong in (Tls(ca=b"x"), Tls(ca=b"\xff"), Tls(cert=b"x", key=b"y"), Tls.read(cert=pair.cert, key=other.key)):
        with pytest.raises(ValueError, match="the certificates or the key cannot be used"):
            wrong.context()

"""The admin listener knows callers as the others do: TLS, tokens, and the scope ``admin`` for everything."""

from pathlib import Path

import grpc
import pytest

from tests.support.access import Ca, bearer, call, find_methods, path_of, tls_channel, write_tokens
from tests.support.serving import serving
from unrolled.admin.v1 import admin_pb2 as wire
from unrolled_client import AdminClient, Tls
from unrolled_client.errors import PermissionDenied, Unauthenticated, Unreachable
from unrolled_service.models.bundle import Bundle

METHODS = {path_of(method): method for method in find_methods("unrolled.admin.v1")}
TOKENS = {f"unr_{scope}": f"acme {scope}" for scope in ("generate", "session", "metrics", "admin")}
OTHERS = [token for token in TOKENS if token != "unr_admin"]


def test_there_are_methods() -> None:
    assert "/unrolled.admin.v1.AdminService/LoadModel" in METHODS


def test_no_method_is_for_those_without_the_scope(alphabet: Bundle, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", TOKENS)
    with serving(alphabet, auth_tokens=tokens, admin_listen="127.0.0.1:0") as server:
        assert server.admin_address is not None
        with grpc.insecure_channel(server.admin_address) as channel:
            for method in METHODS.values():
                assert call(channel, method).code == "UNAUTHENTICATED"
                for token in OTHERS:
                    outcome = call(channel, method, metadata=bearer(token))
                    assert (outcome.code, outcome.details) == ("PERMISSION_DENIED", "the token lacks the scope admin")
            stats = call(channel, METHODS["/unrolled.admin.v1.AdminService/GetStats"], metadata=bearer("unr_admin"))
        assert not wire.GetStatsResponse.FromString(stats.replies[0]).is_draining
        assert not server.drain_wanted.is_set()


def test_methods_of_operators_are_on_their_listener_alone(alphabet: Bundle, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", TOKENS)
    with (
        serving(alphabet, auth_tokens=tokens, admin_listen="127.0.0.1:0") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        for method in METHODS.values():
            assert call(channel, method, metadata=bearer("unr_admin")).code == "UNIMPLEMENTED"


def test_operators_talk_tls(alphabet: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLED_TOKEN", raising=False)
    ca = Ca(tmp_path / "ca")
    pair = ca.issue()
    settings = {"tls_cert": pair.cert, "tls_key": pair.key, "auth_tokens": write_tokens(tmp_path / "tokens", TOKENS)}
    with serving(alphabet, admin_listen="0.0.0.0:0", **settings) as server:
        assert server.admin_address is not None
        address, tls = server.admin_address.replace("0.0.0.0", "localhost"), Tls(ca=ca.pem)
        with AdminClient(address, credentials=tls, token="unr_admin") as operator:
            assert [each.name for each in operator.stats().models] == [alphabet.name]
        with AdminClient(address, credentials=tls) as stranger, pytest.raises(Unauthenticated):
            stranger.drain()
        with AdminClient(address, credentials=tls, token=lambda: "unr_generate") as tenant:
            with pytest.raises(PermissionDenied):
                tenant.drain()
        with AdminClient(address) as clear, pytest.raises(Unreachable):
            clear.stats(timeout=20)
        with tls_channel(address, ca) as channel:
            assert call(channel, METHODS["/unrolled.admin.v1.AdminService/Drain"]).code == "UNAUTHENTICATED"
        assert not server.drain_wanted.is_set()

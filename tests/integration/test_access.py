"""Nobody calls a method or reads a page without a token that is good for it, but for what is open by name."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.access import Outcome, Pairs, bearer, call, find_methods, open_streams, path_of, write_tokens
from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.v1.generation_pb2 import GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.model_pb2 import ListModelsRequest
from unrolled.v1.model_pb2_grpc import ModelServiceStub
from unrolled_service.callers.scopes import SCOPES
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

METHODS = {path_of(method): method for method in find_methods("unrolled.v1")}
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].methods
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods
OPEN = {path_of(method): method for method in open_streams([*HEALTH, *REFLECTION])}
ISSUER = {"jwt_issuer": "https://issuer", "jwt_audience": "unrolled"}
FILED = {scope: f"unr_{scope}" for scope in ("generate", "session", "admin", "metrics")}
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]


def signed(scope: str, key: ec.EllipticCurvePrivateKey | None = KEYS[0], **changes: Any) -> str:
    """Return a JSON Web Token of the issuer for a scope; without a key, one that nobody signed."""
    told = {"iss": "https://issuer", "aud": "unrolled", "sub": "acme", "exp": int(time.time()) + 3600, "scope": scope}
    return jwt.encode(told | changes, key or "", "ES256" if key else "none")


SIGNED = {scope: signed(scope) for scope in FILED}
SHOWN = {"a file's": FILED, "an issuer's": SIGNED}


def strangers(tokens: Mapping[str, str]) -> dict[str, Pairs]:
    """Return what nobody shows who is known."""
    good = tokens["generate"]
    header, _, signature = SIGNED["session"].partition(".")
    return {
        "nothing": [],
        "a wrong token": bearer("unr_wrong"),
        "half a token": bearer(good[: len(good) // 2]),
        "an empty token": [("authorization", "Bearer ")],
        "a scheme alone": [("authorization", "Bearer")],
        "another scheme": [("authorization", f"Basic {good}")],
        "a token without a scheme": [("authorization", good)],
        "a space too much": [("authorization", f"Bearer  {good}")],
        "two tokens": [*bearer(good), *bearer(tokens["session"])],
        "the hash of a token": bearer("0a" * 32),
        "another header": [("x-authorization", f"Bearer {good}")],
        "a long token": bearer("x" * 7000),
        "something like a JWT": bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."),
        "a JWT that nobody signed": bearer(signed("generate", None)),
        "a JWT of another key": bearer(signed("generate", KEYS[1])),
        "a JWT of another issuer": bearer(signed("generate", iss="https://other")),
        "a JWT for somebody else": bearer(signed("generate", aud="other")),
        "a JWT that has expired": bearer(signed("generate", exp=int(time.time()) - 3600)),
        "a JWT of nobody": bearer(signed("generate", sub="")),
        "a JWT with another's signature": bearer(".".join((header, SIGNED["generate"].split(".")[1], signature))),
    }


@pytest.fixture(scope="module", params=SHOWN)
def means(request: pytest.FixtureRequest) -> str:
    """Whose tokens callers show."""
    return str(request.param)


@pytest.fixture(scope="module")
def tokens(means: str) -> Mapping[str, str]:
    return SHOWN[means]


@pytest.fixture(scope="module")
def server(alphabet: Bundle, means: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tokens")
    settings: dict[str, Any] = {
        "auth_tokens": write_tokens(folder / "tokens", {token: f"acme {scope}" for scope, token in FILED.items()})
    }
    if means == "an issuer's":
        key = KEYS[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "key.pem").write_bytes(key)
        settings |= ISSUER | {"jwt_keys": folder / "key.pem"}
    with serving(alphabet, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address, [("grpc.max_metadata_size", 65536)]) as opened:
        yield opened


def reason_of(outcome: Outcome) -> str:
    details = dict(outcome.trailing)["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = ErrorInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize("path", METHODS)
def test_no_method_knows_a_stranger(channel: grpc.Channel, tokens: Mapping[str, str], path: str) -> None:
    seen = {name: call(channel, METHODS[path], metadata=shown) for name, shown in strangers(tokens).items()}

    assert {*map(reason_of, seen.values())} == {"UNAUTHENTICATED"}
    assert {outcome.code for outcome in seen.values()} == {"UNAUTHENTICATED"}
    assert len({*seen.values()}) == 1, "an answer tells what was wrong"
    assert not seen["nothing"].replies


def test_all_methods_tell_a_stranger_the_same(channel: grpc.Channel) -> None:
    assert len({call(channel, method) for method in METHODS.values()}) == 1


@pytest.mark.parametrize("path", METHODS)
def test_a_stranger_is_not_told_what_is_wrong_with_the_request(channel: grpc.Channel, path: str) -> None:
    assert call(channel, METHODS[path], b"\xff\xff\xff") == call(channel, METHODS[path])


@pytest.mark.parametrize("path", METHODS)
def test_a_token_is_good_for_its_scope_alone(channel: grpc.Channel, tokens: Mapping[str, str], path: str) -> None:
    for name, token in tokens.items():
        outcome = call(channel, METHODS[path], metadata=bearer(token))
        if name == SCOPES[path]:
            assert outcome.code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL")
        else:
            assert (outcome.code, reason_of(outcome)) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
            assert outcome.details == f"the token lacks the scope {SCOPES[path]}"


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("shown", ["nothing", "a wrong token"])
def test_what_is_open_needs_no_token(channel: grpc.Channel, tokens: Mapping[str, str], path: str, shown: str) -> None:
    assert call(channel, OPEN[path], metadata=strangers(tokens)[shown]).code in ("OK", "UNIMPLEMENTED")


def test_health_may_be_watched_without_a_token(channel: grpc.Channel) -> None:
    watch: MethodDescriptor = next(method for method in HEALTH if method.name == "Watch")
    stream = channel.unary_stream(path_of(watch))(b"")
    assert health_pb2.HealthCheckResponse.FromString(next(stream)).status == health_pb2.HealthCheckResponse.SERVING
    stream.cancel()


def test_a_method_that_does_not_exist_tells_nothing(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/unrolled.v1.GenerationService/Invented")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_scheme_may_be_written_as_one_likes(channel: grpc.Channel, tokens: Mapping[str, str]) -> None:
    for scheme in ("bearer", "BEARER"):
        shown = [("authorization", f"{scheme} {tokens['generate']}")]
        assert ModelServiceStub(channel).ListModels(ListModelsRequest(), metadata=shown).models


def read(server: Server, path: str, token: str | None = None) -> tuple[int, str, str | None]:
    request = urllib.request.Request(server.metrics_url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/metrics", "/", "/healthz/", "/metrics/", "/readyz/x", "/METRICS", "/x"])
def test_a_page_that_is_not_open_needs_a_token(server: Server, tokens: Mapping[str, str], path: str) -> None:
    wrong = [shown[0][1].removeprefix("Bearer ") for name, shown in strangers(tokens).items() if " JWT " in name]
    for token in (None, "unr_wrong", "", *wrong):
        assert read(server, path, token) == (401, "a valid bearer token is needed\n", "Bearer")
    for scope in ("generate", "session", "admin"):
        assert read(server, path, tokens[scope]) == (403, "the token lacks the scope metrics\n", None)
    assert read(server, path, tokens["metrics"])[0] == (200 if path == "/metrics" else 404)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz?x=1"])
def test_an_open_page_needs_none(server: Server, path: str) -> None:
    assert [read(server, path, token)[0] for token in (None, "unr_wrong")] == [200, 200]


def test_metrics_tell_refusals_and_no_tenants(server: Server, channel: grpc.Channel, tokens: Mapping[str, str]) -> None:
    call(channel, METHODS["/unrolled.v1.ModelService/ListModels"])
    page = read(server, "/metrics", tokens["metrics"])[1]

    assert "acme" not in page
    assert 'unrolled_rejected_total{reason="UNAUTHENTICATED"}' in page
    assert 'unrolled_rpc_total{code="UNAUTHENTICATED",method="/unrolled.v1.ModelService/ListModels"}' in page


def test_a_token_is_known_and_forgotten_while_the_server_runs(alphabet: Bundle, tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens", {"unr_old": "acme generate"})
    with serving(alphabet, auth_tokens=path) as server, grpc.insecure_channel(server.address) as channel:

        def knows(token: str) -> bool:
            code = call(channel, METHODS["/unrolled.v1.ModelService/ListModels"], metadata=bearer(token)).code
            return {"OK": True, "UNAUTHENTICATED": False}[code]

        assert knows("unr_old")
        assert not knows("unr_new")
        write_tokens(path, {"unr_new": "acme generate"})
        wait_until(lambda: knows("unr_new"), "the new token is known")
        assert not knows("unr_old")
        path.write_text("nonsense\n")
        write_tokens(path, {})
        wait_until(lambda: not knows("unr_new"), "nobody is known any more")


def test_callers_do_not_take_each_others_place(alphabet: Bundle, tmp_path: Path) -> None:
    """Many calls at once, of two tokens: each is judged by its own."""
    path = write_tokens(tmp_path / "tokens", {"unr_yes": "a generate", "unr_no": "b session"})
    with serving(alphabet, auth_tokens=path) as server, grpc.insecure_channel(server.address) as channel:
        generation = GenerationServiceStub(channel)
        request = GenerateRequest(prompt="a", max_tokens=200)
        ends: dict[str, list[int]] = {"unr_yes": [], "unr_no": []}

        def ask(token: str) -> None:
            try:
                ends[token].append(len(list(generation.Generate(request, metadata=bearer(token)))))
            except grpc.RpcError as error:
                ends[token].append(-error.code().value[0])

        threads = [threading.Thread(target=ask, args=(token,)) for _ in range(20) for token in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        denied = -grpc.StatusCode.PERMISSION_DENIED.value[0]
        assert ends["unr_no"] == [denied] * 20
        assert len(ends["unr_yes"]) == 20
        assert min(ends["unr_yes"]) > 0


def test_a_refusal_is_documented(channel: grpc.Channel, tokens: Mapping[str, str]) -> None:
    models = ModelServiceStub(channel)
    unknown = refusal(lambda: models.ListModels(ListModelsRequest()))
    denied = refusal(lambda: models.ListModels(ListModelsRequest(), metadata=bearer(tokens["session"])))

    assert (unknown.code, unknown.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert (denied.code, denied.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert denied.text == "the token lacks the scope generate"


def test_without_settings_anybody_may_do_anything(alphabet: Bundle) -> None:
    with serving(alphabet) as server, grpc.insecure_channel(server.address) as channel:
        codes: Sequence[str] = [call(channel, method).code for method in METHODS.values()]
        assert not {*codes} & {"UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL"}
        assert read(server, "/metrics")[0] == 200

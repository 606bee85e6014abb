"""Every way to come with every token to every session: the first thing that is wrong is what the caller is told."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from typing import NamedTuple

import grpc
import pytest

from tests.support.access import Cast, bearer, tls_channel, write_tokens
from tests.support.serving import serving
from unrolled.v1.session_pb2 import CreateSessionRequest, GetSessionRequest
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

TENANTS = {"unr_acme": "acme", "unr_rival": "rival"}
GRANTS = {token: f"{tenant} session" for token, tenant in TENANTS.items()} | {"unr_reader": "acme generate"}
TOKENS = (*GRANTS, "unr_wrong", None)
SESSIONS = (*TENANTS.values(), "nobody")
SERVERS = ("plain", "tls", "mtls")
CALLERS = ("plain", "tls", "tls, another authority", "mtls", "mtls, another authority")
COMES_THROUGH = {"plain": {"plain"}, "tls": {"tls", "mtls", "mtls, another authority"}, "mtls": {"mtls"}}


class Cell(NamedTuple):
    """One caller and what it asks for: over which channel, with whose token, about whose session."""

    caller: str
    token: str | None
    owner: str


def wanted(kind: str, cell: Cell) -> str:
    """Return how a call must end at a server of a kind."""
    if cell.caller not in COMES_THROUGH[kind]:
        return "UNAVAILABLE"
    if cell.token not in GRANTS:
        return "UNAUTHENTICATED"
    if cell.token not in TENANTS:
        return "PERMISSION_DENIED"
    return "OK" if TENANTS[cell.token] == cell.owner else "NOT_FOUND"


def open_channel(cast: Cast, caller: str, address: str) -> grpc.Channel:
    """Return the channel of a caller."""
    kind, _, other = caller.partition(", ")
    if kind == "plain":
        return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
    if kind == "tls":
        return tls_channel(address, cast.other_ca if other else cast.ca)
    return tls_channel(address, cast.ca, cast.other_client if other else cast.client)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    return Cast(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(kind: str, cast: Cast, alphabet: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tokens = write_tokens(tmp_path_factory.mktemp("tokens") / "tokens", GRANTS)
    settings = {"plain": {}, "tls": cast.tls, "mtls": cast.mutual}
    with serving(alphabet, auth_tokens=tokens, **settings[kind]) as running:
        yield running


def test_who_may_see_which_session(kind: str, cast: Cast, server: Server) -> None:
    with ExitStack() as stack:
        stubs = {
            caller: SessionServiceStub(stack.enter_context(open_channel(cast, caller, server.address)))
            for caller in CALLERS
        }
        ids = {"nobody": "0" * 22}
        for token, tenant in TENANTS.items():
            reply = stubs[kind].CreateSession(CreateSessionRequest(), metadata=bearer(token))
            ids[tenant] = reply.session.id

        def seen(cell: Cell) -> str:
            shown = bearer(cell.token) if cell.token else []
            asked = GetSessionRequest(session_id=ids[cell.owner])
            try:
                reply = stubs[cell.caller].GetSession(asked, metadata=shown, timeout=20)
            except grpc.RpcError as error:
                return str(error.code().name)
            assert reply.session.id == asked.session_id
            return "OK"

        cells = [Cell(*each) for each in product(CALLERS, TOKENS, SESSIONS)]
        assert {cell: seen(cell) for cell in cells} == {cell: wanted(kind, cell) for cell in cells}

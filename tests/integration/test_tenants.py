"""To a tenant, another's session is one that never was: in every answer, byte by byte."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.access import write_tokens
from tests.support.alphabet import greedy_text
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.tenants import CALLS, NAMING, Tenant, unknown_like
from tests.support.windows import SMALL_WINDOW
from unrolled.v1 import generation_pb2 as generation
from unrolled.v1 import session_pb2 as wire
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

ENDLESS = 10_000_000
LONG = 5_000  # more than fits between a server and a reader that waits, with a small window
GREEDY = generation.Sampling(temperature=0)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grants = {"unr_ada": "ada generate session", "unr_ada2": "ada generate session", "unr_bob": "bob generate session"}
    return write_tokens(tmp_path_factory.mktemp("tokens") / "tokens", grants)


@pytest.fixture(scope="module")
def server(alphabet: Bundle, tokens: Path) -> Iterator[Server]:
    with serving(alphabet, auth_tokens=tokens, max_tokens=ENDLESS, max_sessions=50, evict_after_s=0.0) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address, SMALL_WINDOW) as opened:
        yield opened


@pytest.fixture
def ada(channel: grpc.Channel) -> Tenant:
    return Tenant(channel, "unr_ada")


@pytest.fixture
def bob(channel: grpc.Channel) -> Tenant:
    return Tenant(channel, "unr_bob")


def same(bob: Tenant, what: str, theirs: str) -> None:
    """Raise where a call about another's session can be told from one about none."""
    foreign, unknown = bob.try_on(what, theirs), bob.try_on(what, unknown_like(theirs))
    assert foreign == unknown
    assert foreign.code != "OK"
    assert not foreign.replies


def test_every_method_that_takes_a_session_is_tried() -> None:
    assert {name for name, _ in CALLS.values()} == NAMING


@pytest.mark.parametrize("what", CALLS)
def test_an_idle_session_of_somebody_else_is_none(ada: Tenant, bob: Tenant, what: str) -> None:
    session_id = ada.create(seed=1)
    ada.ask("Generate", generation.GenerateRequest(session_id=session_id, prompt="a", max_tokens=20, sampling=GREEDY))
    before = ada.get(session_id)

    same(bob, what, session_id)

    assert ada.get(session_id) == before
    mine, foreign = ada.try_on(what, session_id), bob.try_on(what, session_id)
    assert mine != foreign


@pytest.mark.parametrize("what", CALLS)
def test_a_busy_session_of_somebody_else_is_none_and_is_not_disturbed(
    ada: Tenant, bob: Tenant, channel: grpc.Channel, what: str
) -> None:
    session_id = ada.create()
    request = generation.GenerateRequest(session_id=session_id, prompt="a", max_tokens=LONG, sampling=GREEDY)
    stream = GenerationServiceStub(channel).Generate(request, metadata=[("authorization", "Bearer unr_ada")])
    text = next(stream).chunk.text

    assert ada.get(session_id).busy
    same(bob, what, session_id)
    assert ada.get(session_id).busy

    text += "".join(reply.chunk.text for reply in stream)
    assert text == greedy_text("a", LONG)
    assert ada.get(session_id).position == LONG + 1


@pytest.mark.parametrize("what", CALLS)
def test_a_deleted_session_of_somebody_else_is_none(ada: Tenant, bob: Tenant, what: str) -> None:
    session_id = ada.create()
    ada.try_on("delete", session_id)
    same(bob, what, session_id)


def test_an_expired_session_of_somebody_else_is_none(ada: Tenant, bob: Tenant) -> None:
    session_id = ada.create(ttl=Duration(seconds=1))
    wait_until(lambda: session_id not in ada.listed(), "the session expires")
    assert "idle for longer" in ada.try_on("describe", session_id).details
    for what in CALLS:
        same(bob, what, session_id)


def test_an_evicted_session_of_somebody_else_is_none(ada: Tenant, bob: Tenant) -> None:
    session_id = ada.create()
    wait_until(lambda: bool(ada.create()) and session_id not in ada.listed(), "the session makes room")
    assert "make room" in ada.try_on("describe", session_id).details
    for what in CALLS:
        same(bob, what, session_id)


def test_a_list_has_ones_own_sessions_alone(ada: Tenant, bob: Tenant, channel: grpc.Channel) -> None:
    before = {*ada.listed(), *bob.listed()}
    theirs = [tenant.create() for tenant in (ada, bob, ada, bob, ada)]

    for page_size in (1, 2, 1000):
        assert [id_ for id_ in ada.listed(page_size) if id_ not in before] == theirs[::2]
        assert [id_ for id_ in bob.listed(page_size) if id_ not in before] == theirs[1::2]
    assert Tenant(channel, "unr_ada2").listed() == ada.listed(), "a tenant may have several tokens"


def test_copies_belong_to_whom_the_session_belongs(ada: Tenant, bob: Tenant) -> None:
    session_id = ada.create()
    forked = wire.ForkSessionResponse.FromString(ada.try_on("fork", session_id).replies[0]).sessions
    snapshot = wire.ExportSnapshotResponse.FromString(ada.try_on("export", session_id).replies[0]).snapshot
    imported = ada.ask("ImportSnapshot", wire.ImportSnapshotRequest(snapshot=snapshot))
    copies = [*(each.id for each in forked), wire.ImportSnapshotResponse.FromString(imported.replies[0]).session.id]

    assert {*copies} <= {*ada.listed()}
    assert not {*copies} & {*bob.listed()}
    for copy in copies:
        same(bob, "describe", copy)


def test_a_snapshot_is_good_for_its_owner_alone(ada: Tenant, bob: Tenant) -> None:
    snapshot = wire.ExportSnapshotResponse.FromString(ada.try_on("export", ada.create()).replies[0]).snapshot

    refused = bob.ask("ImportSnapshot", wire.ImportSnapshotRequest(snapshot=snapshot))

    assert (refused.code, refused.details) == ("FAILED_PRECONDITION", "the snapshot belongs to another owner")


def test_a_key_of_somebody_else_is_another_key(ada: Tenant, bob: Tenant) -> None:
    made = {tenant.token: tenant.create(idempotency_key="once", seed=1) for tenant in (ada, bob)}

    assert made["unr_ada"] != made["unr_bob"]
    assert ada.create(idempotency_key="once", seed=1) == made["unr_ada"]
    other = bob.ask("CreateSession", wire.CreateSessionRequest(idempotency_key="ada's", seed=2))
    assert ada.ask("CreateSession", wire.CreateSessionRequest(idempotency_key="ada's", seed=3)).code == "OK"
    assert other.code == "OK"


def test_ids_are_the_servers_own_and_random(ada: Tenant, bob: Tenant) -> None:
    made = [tenant.create() for tenant in (ada, bob) for _ in range(20)]
    assert len({*made}) == 40
    assert all(len({id_[place] for id_ in made}) > 5 for id_ in made[:1] for place in range(21))


def test_a_token_that_may_not_make_sessions_may_still_go_on_with_its_tenants(alphabet: Bundle, tmp_path: Path) -> None:
    grants = {"unr_all": "ada generate session", "unr_some": "ada generate", "unr_bob": "bob generate"}
    path = write_tokens(tmp_path / "tokens", grants)
    with serving(alphabet, auth_tokens=path) as server, grpc.insecure_channel(server.address) as channel:
        session_id = Tenant(channel, "unr_all").create()
        assert Tenant(channel, "unr_some").try_on("describe", session_id).code == "PERMISSION_DENIED"
        assert Tenant(channel, "unr_some").try_on("generate", session_id).code == "OK"
        same(Tenant(channel, "unr_bob"), "generate", session_id)

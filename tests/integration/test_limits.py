"""What a server refuses, and whom it slows down, over real gRPC: quotas of tenants, deadlines, priorities."""

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.access import bearer, write_tokens
from tests.support.alphabet import greedy_text
from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.v1.generation_pb2 import PRIORITY_BATCH, GenerateRequest, ScoreRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.model_pb2 import ListModelsRequest
from unrolled.v1.model_pb2_grpc import ModelServiceStub
from unrolled.v1.session_pb2 import (
    CreateSessionRequest,
    DeleteSessionRequest,
    ExportSnapshotRequest,
    ForkSessionRequest,
    ImportSnapshotRequest,
)
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.address import split_address
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc.arrival import SESSION_KEY

ENDLESS = 10**7
SETTINGS = {"engine_threads": 1, "max_tokens": ENDLESS, "max_waiting_tokens": 10**10}
LONG = 20_000


class Caller:
    """Calls of one tenant; of nobody where it has no name."""

    def __init__(self, channel: grpc.Channel, tenant: str = "") -> None:
        self._channel = channel
        self._metadata = bearer(token_of(tenant)) if tenant else ()

    def begin(self, timeout: float | None = None, **fields: Any) -> Any:
        request = GenerateRequest(**({"prompt": "hello", "max_tokens": ENDLESS} | fields))  # type: ignore[arg-type]
        return GenerationServiceStub(self._channel).Generate(request, timeout=timeout, metadata=self._metadata)

    def read(self, **fields: Any) -> str:
        return "".join(message.chunk.text for message in self.begin(**fields))

    def send(self, content: bytes, metadata: Sequence[tuple[str, str]] = ()) -> list[bytes]:
        """Return the responses to a request of any bytes."""
        return list(self._channel.unary_stream("/unrolled.v1.GenerationService/Generate")(content, metadata=metadata))

    def score(self, text: str) -> Any:
        stub = GenerationServiceStub(self._channel)
        return stub.Score(ScoreRequest(text=text), metadata=self._metadata)

    def session(self, method: str, request: Any) -> Any:
        return getattr(SessionServiceStub(self._channel), method)(request, metadata=self._metadata)


def token_of(tenant: str) -> str:
    return f"unr_{tenant}"


@contextmanager
def callers(*tenants: str, bundle: Bundle, **settings: Any) -> Iterator[list[Caller]]:
    with TemporaryDirectory() as folder, ExitStack() as open_:
        if any(tenants):
            grants = {token_of(tenant): f"{tenant} generate session" for tenant in tenants}
            settings["auth_tokens"] = write_tokens(Path(folder, "tokens"), grants)
        server = open_.enter_context(serving(bundle, **SETTINGS, **settings))
        channel = open_.enter_context(grpc.insecure_channel(server.address))
        yield [Caller(channel, tenant) for tenant in tenants]


def crowd(caller: Caller, count: int, ending: ExitStack, max_tokens: int = ENDLESS, **fields: Any) -> None:
    """Begin streams that nobody reads, of which the first has a row; they are cancelled at the end."""
    for i in range(count):
        stream = caller.begin(max_tokens=max_tokens, **fields)
        ending.callback(stream.cancel)
        if not i:
            next(stream)


def is_refused(caller: Caller) -> bool:
    try:
        caller.read(max_tokens=1)
    except grpc.RpcError:
        return True
    return False


def test_a_tenant_that_has_every_place_leaves_others_their_part(alphabet: Bundle) -> None:
    with callers("greedy", "b", bundle=alphabet, max_streams=4, max_rows=2) as (greedy, b), ExitStack() as ending:
        crowd(greedy, 4, ending)
        assert refusal(lambda: greedy.read(max_tokens=1)).reason == "QUEUE_FULL"
        assert b.read(max_tokens=5) == greedy_text("hello", 5)
        crowd(b, 2, ending)
        assert refusal(lambda: b.read(max_tokens=1)).reason == "QUEUE_FULL"


def test_a_tenant_has_so_many_calls_and_sessions_as_it_may(alphabet: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text("[big]\nsessions = 4\n")
    with callers("a", "b", "big", bundle=alphabet, tenant_streams=2, tenant_sessions=1, tenants=file) as (a, b, big):
        streams = [a.begin() for _ in range(2)]
        for stream in streams:
            next(stream)
        for call in (lambda: next(a.begin()), lambda: a.score("ab")):
            refused = refusal(call)
            assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert b.read(max_tokens=5) == greedy_text("hello", 5)
        streams[0].cancel()
        wait_until(lambda: not is_refused(a), "the server has heard of it")
        streams[1].cancel()

        mine = a.session("CreateSession", CreateSessionRequest()).session.id
        snapshot = a.session("ExportSnapshot", ExportSnapshotRequest(session_id=mine)).snapshot
        for method, request in (
            ("CreateSession", CreateSessionRequest()),
            ("ForkSession", ForkSessionRequest(session_id=mine)),
            ("ImportSnapshot", ImportSnapshotRequest(snapshot=snapshot)),
        ):
            refused = refusal(lambda method=method, request=request: a.session(method, request))  # type: ignore[misc]
            assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        b.session("CreateSession", CreateSessionRequest())
        theirs = big.session("CreateSession", CreateSessionRequest()).session.id
        big.session("ForkSession", ForkSessionRequest(session_id=theirs, count=3))
        assert refusal(lambda: big.session("CreateSession", CreateSessionRequest())).reason == "QUOTA_EXCEEDED"
        a.session("DeleteSession", DeleteSessionRequest(session_id=mine))
        a.session("CreateSession", CreateSessionRequest())


def test_a_stream_that_has_had_its_tokens_is_slowed_and_new_ones_are_told_when_to_come(alphabet: Bundle) -> None:
    with callers("a", "b", bundle=alphabet, tenant_tokens_per_s=500.0, tenant_burst_s=0.2) as (a, b):
        began = time.monotonic()
        stream = a.begin(max_tokens=400)
        next(stream)
        text = "".join(message.chunk.text for message in stream)
        took_s = time.monotonic() - began
        assert greedy_text("hello", 400).endswith(text)
        assert took_s >= 0.5  # 404 tokens, of which 100 at once
        refused = refusal(lambda: [a.read(max_tokens=100) for _ in range(1000)])
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert refused.retry_after_s is not None
        assert b.read(max_tokens=5) == greedy_text("hello", 5)


def test_a_call_that_would_come_too_late_is_refused_at_once(alphabet: Bundle) -> None:
    with callers("a", "b", bundle=alphabet, max_rows=2, turn_s=3600, max_steps=1) as (a, b), ExitStack() as ending:
        crowd(a, 50, ending, max_tokens=200_000)
        b.read(max_tokens=1)  # the engine has heard of all that came before
        refused = refusal(lambda: next(a.begin(timeout=10)))
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
        assert refused.retry_after_s is not None
        assert re.search(r"and the deadline is in \d+\.\d s", refused.text)
        late = a.begin(timeout=86_400)  # in time, as far as one can tell
        ending.callback(late.cancel)
        assert b.read(max_tokens=5, timeout=60) == greedy_text("hello", 5)  # another tenant has its share of the rows


def test_interactive_calls_go_before_batch(alphabet: Bundle) -> None:
    with callers("", bundle=alphabet, max_rows=1, turn_s=3600, ageing_s=3600) as (caller,):
        batch = caller.begin(max_tokens=LONG, priority=PRIORITY_BATCH)
        text = next(batch).chunk.text
        for _ in range(3):
            assert caller.read(max_tokens=5) == greedy_text("hello", 5)
        assert batch.is_active()
        text += "".join(message.chunk.text for message in batch)
        assert text == greedy_text("hello", LONG)


def test_two_tenants_share_the_rows_however_many_streams_one_has(alphabet: Bundle) -> None:
    with callers("greedy", "modest", bundle=alphabet, max_rows=4, turn_s=3600) as (greedy, modest), ExitStack() as end:
        crowd(greedy, 100, end)
        for _ in range(5):
            assert modest.read(max_tokens=50) == greedy_text("hello", 50)


def test_health_and_models_answer_while_the_engine_is_full(alphabet: Bundle) -> None:
    with serving(alphabet, **SETTINGS, max_rows=2, max_streams=20) as server:
        with grpc.insecure_channel(server.address) as channel:
            caller, health = Caller(channel), health_pb2_grpc.HealthStub(channel)
            ending = ExitStack()
            crowd(caller, 20, ending)
            refused = refusal(lambda: [next(caller.begin()) for _ in range(1000)])
            assert (refused.reason, refused.retry_after_s) == ("QUEUE_FULL", 1.0)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
            assert len(ModelServiceStub(channel).ListModels(ListModelsRequest(), timeout=30).models) == 1
            ending.close()


def test_a_full_server_reads_no_call_but_one_that_says_its_session(alphabet: Bundle) -> None:
    with callers("", bundle=alphabet, max_streams=1) as (caller,), ExitStack() as ending:
        session = caller.session("CreateSession", CreateSessionRequest()).session.id
        crowd(caller, 1, ending, session_id=session)
        assert refusal(lambda: caller.send(b"no message")).reason == "QUEUE_FULL"
        named = ((SESSION_KEY, session),)
        assert refusal(lambda: caller.send(b"no message", named)).reason == "INVALID_FIELD"
        follower = GenerateRequest(session_id=session, prompt="a", max_tokens=5, preempt=True)
        assert caller.send(follower.SerializeToString(), named)


def test_a_connection_too_many_is_closed_and_those_before_it_are_served(alphabet: Bundle) -> None:
    with serving(alphabet, engine_threads=1, max_connections=2) as server, ExitStack() as links:
        address = split_address(server.address)
        silent = links.enter_context(socket.create_connection(address))  # it counts, whatever it says
        channel = links.enter_context(grpc.insecure_channel(server.address))
        assert Caller(channel).read(max_tokens=5) == greedy_text("hello", 5)
        with socket.create_connection(address) as refused:
            refused.settimeout(10)
            assert is_closed(refused)
        assert Caller(channel).read(max_tokens=5) == greedy_text("hello", 5)
        silent.close()
        other = links.enter_context(grpc.insecure_channel(server.address))
        grpc.channel_ready_future(other).result(timeout=10)
        assert Caller(other).read(max_tokens=5) == greedy_text("hello", 5)


def is_closed(link: socket.socket) -> bool:
    """Wait until the peer says something; return whether that is the end."""
    try:
        return not link.recv(1)
    except ConnectionResetError:
        return True

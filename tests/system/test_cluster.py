"""Three servers behind Envoy, with Redis: what callers notice of there being several, and of one that goes."""

import asyncio
import http.client
import re
import signal
import struct
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from deploy.cluster.fleet import Fleet
from deploy.cluster.member import Member
from deploy.cluster.rolling import LIMITS, roll
from tests.support.alphabet import greedy_text
from tests.support.envoy import read_calls
from tests.support.server import wait_until
from unrolled.v1 import generation_pb2, session_pb2, session_pb2_grpc
from unrolled_client import Client
from unrolled_client.errors import QueueFull, SessionBusy
from unrolled_client.session import Session
from unrolled_client.stream import Stream

pytestmark = [pytest.mark.program("redis-server"), pytest.mark.program("envoy")]
LIMIT_S = 60.0
SESSIONS = 600
STREAMS = 40  # of a server at once
GENERATE = "/unrolled.v1.GenerationService/Generate"


@pytest.fixture(scope="module")
def fleet(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    settings = {**LIMITS, "max_streams": STREAMS, "drain_grace_s": 1, "store_interval_s": 0.2, "store_lease_s": 1}
    with Fleet(tmp_path_factory.mktemp("cluster"), bundles=[bundle], settings=settings) as running:
        yield running


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.front) as client:
        yield client


def places_of(fleet: Fleet, ids: list[str], tag: str) -> dict[str, str]:
    """Return for each session which server answers about it, asked for by its header."""
    with grpc.insecure_channel(fleet.front) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        for number, session_id in enumerate(ids):
            metadata = (("x-session-id", session_id), ("x-request-id", f"{tag}-{number}"))
            stub.GetSession(session_pb2.GetSessionRequest(session_id=session_id), metadata=metadata, timeout=LIMIT_S)
    names = [f"{tag}-{number}" for number in range(len(ids))]
    wait_until(lambda: {*names} <= {*read_calls(fleet.envoy.log)}, "Envoy has written its log")
    calls = read_calls(fleet.envoy.log)
    return {session_id: calls[name]["replica"] for session_id, name in zip(ids, names, strict=True)}


def count_streams(fleet: Fleet, replica: Member) -> float:
    """Return how many streams a server has."""
    with urllib.request.urlopen(f"http://{fleet.metrics[replica.name]}/metrics", timeout=LIMIT_S) as page:
        (found,) = re.findall(r"^unrolled_streams_active (\S+)$", page.read().decode(), re.M)
    return float(found)


def revive(fleet: Fleet) -> None:
    """Start the servers again that are gone."""
    for replica in fleet.replicas:
        if not replica.is_running:
            replica.start()
            replica.wait_ready(LIMIT_S)
    fleet.wait_balanced(LIMIT_S)


def read_all(stream: Stream) -> str:
    """Read a stream to its end and return all of its text."""
    stream.read()
    return stream.text


def begun(stream: Stream) -> Stream:
    """Return a stream once it gives something."""
    next(stream)
    return stream


def test_a_text_is_the_same_through_envoy(fleet: Fleet, client: Client) -> None:
    with Client(fleet.replicas[0].address) as direct:
        alone = direct.generate("hello", max_tokens=3000, seed=7).read()
    texts = {client.generate("hello", max_tokens=3000, seed=7).read() for _ in range(6)}
    with client.session(seed=7) as session:
        texts.add(session.generate("hello", max_tokens=1000).read() + session.generate(max_tokens=2000).read())
    assert texts == {alone}


def test_a_session_stays_on_its_server_and_sessions_are_spread(fleet: Fleet, client: Client) -> None:
    ids = [client.create_session().id for _ in range(SESSIONS)]
    places = places_of(fleet, ids, "first")
    assert places_of(fleet, ids, "second") == places
    counts = Counter(places.values())
    assert {*counts} == {replica.address for replica in fleet.replicas}
    assert max(abs(count - SESSIONS / 3) for count in counts.values()) < 0.25 * SESSIONS / 3


def test_calls_without_a_session_are_spread(fleet: Fleet) -> None:
    with Client(fleet.front, metadata=(("x-request-id", "drawn"),)) as client:
        for _ in range(60):
            client.models()
    wait_until(lambda: fleet.envoy.log.read_text().count('"request_id":"drawn"') == 60, "Envoy has written its log")
    lines = [line for line in fleet.envoy.log.read_text().splitlines() if '"request_id":"drawn"' in line]
    for replica in fleet.replicas:
        assert sum(replica.address in line for line in lines) > 5


def test_a_killed_servers_sessions_go_on_elsewhere_and_the_others_stay(fleet: Fleet, client: Client) -> None:
    ids = [client.create_session().id for _ in range(60)]
    handles = {session_id: Session(client, session_id, 0) for session_id in ids}
    for handle in handles.values():
        assert handle.generate("hello", max_tokens=20, temperature=0).read() == greedy_text("hello", 20)
    before = places_of(fleet, ids, "before")
    lost = fleet.replicas[0]
    lost.signal(signal.SIGKILL)
    try:
        # At once: whether Envoy has noticed or not.
        for handle in handles.values():
            more = handle.generate(max_tokens=20, temperature=0).read()
            assert more == greedy_text("hello", 40)[20:]
        after = places_of(fleet, ids, "after")
        assert lost.address in before.values()
        assert lost.address not in after.values()
        stayed = [session_id for session_id in ids if before[session_id] != lost.address]
        # Maglev moves about one of a thousand others.
        assert sum(before[session_id] != after[session_id] for session_id in stayed) <= 2
    finally:
        lost.stop()
        revive(fleet)


def test_streams_of_a_killed_server_go_on_elsewhere(fleet: Fleet, client: Client) -> None:
    length = 300_000  # more than fits between a server and its reader
    seeds = range(3)
    with Client(fleet.replicas[0].address) as direct:
        whole = [direct.generate("a", max_tokens=length, seed=seed).read() for seed in seeds]
    sessions = [Session(client, client.create_session(seed=seed).id, 0) for seed in seeds]
    streams = [client.generate("a", max_tokens=length, seed=seed) for seed in seeds]
    streams += [session.generate("a", max_tokens=length) for session in sessions]
    try:
        for stream in streams:
            next(stream)
        lost = max(fleet.replicas, key=lambda replica: count_streams(fleet, replica))
        lost.signal(signal.SIGKILL)
        lost.stop()
        with ThreadPoolExecutor(len(streams)) as pool:
            texts = [*pool.map(read_all, streams)]
    finally:
        revive(fleet)
    assert texts == [*whole, *whole]
    assert sum(stream.resumes for stream in streams) >= 2


def test_all_servers_are_restarted_under_streams(fleet: Fleet) -> None:
    outcome = asyncio.run(roll(fleet, streams=24, seconds=1, prompt="a", sessionless=6))
    assert outcome.errors == []
    assert outcome.is_whole
    assert len(outcome.restarts_s) == 3
    assert sum(each.resumes for each in outcome.reads) >= 1


def test_refusals_of_a_server_arrive_whole(fleet: Fleet) -> None:
    with Client(fleet.front, resume=None) as client, ThreadPoolExecutor(4 * STREAMS) as pool:
        streams = [client.generate("a", max_tokens=LIMITS["max_tokens"]) for _ in range(3 * STREAMS + 30)]

        def begin(stream: Stream) -> Exception | None:
            try:
                next(stream)
            except QueueFull as refusal:
                return refusal
            return None

        refused = [each for each in pool.map(begin, streams) if each]
        assert len(refused) >= 30
        assert all(isinstance(each, QueueFull) and each.retry_after_s for each in refused)
        session = client.create_session().id
        for stream in streams:
            stream.cancel()
        running = begun(client.open_session(session).generate("a", max_tokens=LIMITS["max_tokens"]))
        with pytest.raises(SessionBusy):
            client.open_session(session).generate("a", max_tokens=1).read()
        running.cancel()


def test_readers_that_stopped_leave_the_others_their_text(fleet: Fleet) -> None:
    """What waits for them fills their calls' windows and not that of the connection to their server."""
    with Client(fleet.front) as stopped, Client(fleet.front) as client, ThreadPoolExecutor(60) as pool:
        streams = [stopped.generate("a", max_tokens=LIMITS["max_tokens"]) for _ in range(60)]
        for stream in pool.map(begun, streams):
            assert not stream.is_over
        for _ in range(12):
            text = client.generate("hello", max_tokens=5000, temperature=0, timeout=LIMIT_S).read()
            assert text == greedy_text("hello", 5000)
        for stream in streams:
            stream.cancel()


def frame(message: Message) -> bytes:
    body = message.SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


def read_frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the kind and the content of each frame of gRPC-Web."""
    while body:
        kind, size = struct.unpack(">BI", body[:5])
        yield kind, body[5 : 5 + size]
        body = body[5 + size :]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page got over HTTP/1.1: headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def call_web(fleet: Fleet, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection(fleet.front, timeout=LIMIT_S)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())


def test_a_browser_streams_by_grpc_web(fleet: Fleet) -> None:
    request = generation_pb2.GenerateRequest(
        prompt="hello", max_tokens=500, sampling=generation_pb2.Sampling(temperature=0)
    )
    kind = "application/grpc-web+proto"
    answer = call_web(fleet, "POST", GENERATE, frame(request), content_type=kind, x_grpc_web="1")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    *pieces, (mark, trailer) = read_frames(answer.body)
    news = [generation_pb2.GenerateResponse.FromString(content) for _, content in pieces]
    assert "".join(each.chunk.text for each in news) == greedy_text("hello", 500)
    assert mark == 0x80
    assert b"grpc-status:0" in trailer


def test_pages_of_other_origins_may_not_call(fleet: Fleet) -> None:
    origin = "https://elsewhere.example"
    answer = call_web(fleet, "OPTIONS", GENERATE, origin=origin, access_control_request_method="POST")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/", "/unrolled.admin.v1.AdminService/Drain", "/stats"])
def test_nothing_else_is_let_through(fleet: Fleet, path: str) -> None:
    answer = call_web(fleet, "POST", path)
    assert answer.status == 404


def test_the_access_log_has_no_sessions_and_no_texts(fleet: Fleet, client: Client) -> None:
    with client.session() as session:
        session.generate("zzyzx", max_tokens=5).read()
    wait_until(lambda: "DeleteSession" in fleet.envoy.log.read_text(), "Envoy has written its log")
    log = fleet.envoy.log.read_text()
    assert session.id not in log
    assert "zzyzx" not in log
    (line, *_) = read_calls(fleet.envoy.log).values()
    assert {*line} == {
        *("time", "method", "status", "http", "why", "flags", "duration_ms", "attempts", "replica", "request_id")
    }

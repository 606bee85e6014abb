"""Sessions and streams outlive what they run on: servers, their store, the network between."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos.network import Impairment, Network
from deploy.cluster.ports import free_addresses
from tests.support.alphabet import greedy_text
from tests.support.redis import RedisServer, running_redis
from tests.support.server import ROOT, ServerProcess, running_server, wait_until
from tests.support.windows import SMALL_WINDOW
from unrolled_client import Client
from unrolled_client.errors import (
    Draining,
    PositionMismatch,
    SessionBusy,
    SessionExpired,
    SessionMoved,
    StoreUnavailable,
    UnrolledError,
)
from unrolled_client.session import Session
from unrolled_client.stream import Stream

pytestmark = pytest.mark.program("redis-server")
ENDLESS = 100_000_000
LONG = 12_000  # more than fits between server and reader with a small window
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "snapshot.keys"
    path.touch(mode=0o600)
    path.write_text(f"test:{'5' * 64}\n")
    return path


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    with running_redis(appendonly="yes", appendfsync="always") as redis:
        yield redis


class Replicas:
    """Servers of one bundle and one store, each in a process of its own."""

    def __init__(self, bundle: Path, redis: RedisServer, keys: Path, stack: ExitStack) -> None:
        self._bundle = bundle
        self._stack = stack
        self._settings: dict[str, Any] = {
            "store": redis.url,
            "snapshot_keys": str(keys),
            "store_interval_s": 0.05,
            "store_lease_s": 1,
            "max_tokens": ENDLESS,
            "engine_threads": 1,
        }

    def start(self, **settings: Any) -> ServerProcess:
        chosen = {"listen": next(free_addresses())} | self._settings | settings
        return self._stack.enter_context(running_server(self._bundle, **chosen))


@pytest.fixture
def replicas(bundle: Path, shared_redis: RedisServer, keys: Path) -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(bundle, shared_redis, keys, stack)


def stored_position(redis: RedisServer, session_id: str) -> int:
    """Return where the store has a session; -1: nowhere."""
    with redis.connect() as client:
        return int(client.hget(f"unrolled:{{{session_id}}}", "position") or -1)


def call_when_free(call: Callable[[], str]) -> str:
    """Make a call until the lease of the owner before has run out; return what it does."""
    answers: list[str] = []

    def is_answered() -> bool:
        try:
            answers.append(call())
        except SessionBusy:
            return False
        return True

    wait_until(is_answered, "the session is free", limit_s=LIMIT_S)
    return answers[0]


def read_on(stream: Stream, text: str) -> tuple[str, UnrolledError | None]:
    """Return the text of a stream to its end, and the error with which it ended, if it did."""
    try:
        for piece in stream:
            text += piece
    except UnrolledError as error:
        return text, error
    return text, None


def test_a_killed_server_is_not_noticed_by_fifty_readers(replicas: Replicas) -> None:
    begun, killed = threading.Semaphore(0), threading.Event()
    seeds = range(25)

    def read(stream: Stream) -> Stream:
        next(stream)
        begun.release()
        assert killed.wait(LIMIT_S)
        stream.read()
        return stream

    first = replicas.start()
    with Client(first.address, options=SMALL_WINDOW) as client, ThreadPoolExecutor(2 * len(seeds)) as pool:
        whole = [*pool.map(lambda seed: client.generate("a", max_tokens=LONG, seed=seed).read(), seeds)]
        sessions = [client.open_session(client.create_session(seed=seed).id) for seed in seeds]
        handles = [Session(client, session.id, 0) for session in sessions]
        streams = [client.generate("a", max_tokens=LONG, seed=seed) for seed in seeds]
        streams += [handle.generate("a", max_tokens=LONG) for handle in handles]
        reading = [pool.submit(read, stream) for stream in streams]
        for _ in reading:
            assert begun.acquire(timeout=LIMIT_S)
        first.process.kill()
        first.process.wait()
        killed.set()
        replicas.start(listen=first.address)
        ended = [each.result(LIMIT_S) for each in reading]

    assert [stream.text for stream in ended] == [*whole, *whole]
    assert min(stream.resumes for stream in ended) >= 1
    assert {stream.finish.position for stream in ended if stream.finish} == {1 + LONG}


def test_another_server_goes_on_where_a_session_was_stored_last(replicas: Replicas, shared_redis: RedisServer) -> None:
    first, second = replicas.start(), replicas.start()
    with Client(first.address, options=SMALL_WINDOW, resume=None) as client:
        session_id = client.create_session().id
        stream = client.open_session(session_id).generate("a", max_tokens=ENDLESS, temperature=0)
        next(stream)
        wait_until(lambda: stored_position(shared_redis, session_id) > 0, "the session is stored")
        first.process.kill()
        first.process.wait()
        read_on(stream, "")
    stored = stored_position(shared_redis, session_id)

    with Client(second.address, resume=None) as client:
        session = client.open_session(session_id)
        assert call_when_free(lambda: str(session.info().position)) == str(stored)
        with pytest.raises(PositionMismatch) as caught:
            session.generate(max_tokens=1, expected_position=stored + 1).read()
        assert caught.value.position == stored
        going_on = session.generate(max_tokens=30, temperature=0, expected_position=stored)
        assert going_on.read() == greedy_text("a", stored + 29)[stored - 1 :]
        assert going_on.finish is not None
        assert (going_on.finish.start_position, going_on.finish.position) == (stored, stored + 30)


def test_an_owner_that_slept_through_its_lease_has_lost_the_session(
    replicas: Replicas, shared_redis: RedisServer
) -> None:
    first, second = replicas.start(), replicas.start()
    with (
        Client(first.address, options=SMALL_WINDOW, resume=None) as old,
        Client(second.address, resume=None) as new,
    ):
        session_id = old.create_session().id
        stream = old.open_session(session_id).generate("a", max_tokens=ENDLESS, temperature=0)
        text = next(stream)
        wait_until(lambda: stored_position(shared_redis, session_id) > 0, "the session is stored")
        first.process.send_signal(signal.SIGSTOP)
        try:
            taken = new.open_session(session_id)
            begun = call_when_free(lambda: taken.generate(max_tokens=40, temperature=0).read())
            position = taken.info().position
        finally:
            first.process.send_signal(signal.SIGCONT)
        text, error = read_on(stream, text)

        assert isinstance(error, SessionMoved)
        assert text == greedy_text("a", len(text))
        assert begun == greedy_text("a", position - 1)[-40:]
        assert stored_position(shared_redis, session_id) == position
        assert old.get_session(session_id).position == position
        more = old.open_session(session_id).generate(max_tokens=20, temperature=0, expected_position=position).read()
        assert more == greedy_text("a", position + 19)[-20:]


def test_a_drained_server_leaves_its_sessions_where_their_callers_are(
    replicas: Replicas, shared_redis: RedisServer
) -> None:
    begun, told = threading.Semaphore(0), threading.Event()

    def read(stream: Stream) -> tuple[Stream, UnrolledError | None]:
        text = next(stream)
        begun.release()
        if stream in whole:  # or they might be at their end before the server is told to go
            assert told.wait(LIMIT_S)
        return stream, read_on(stream, text)[1]

    first, second = replicas.start(drain_grace_s=0.1), replicas.start()
    target = [f"ipv4:{first.address},{second.address}"]  # one target of gRPC's own: the first that can be reached
    with (
        Client(first.address, resume=None) as plain,
        Client(target, options=SMALL_WINDOW) as patient,
        ThreadPoolExecutor(20) as pool,
    ):
        ids = [plain.create_session(seed=seed).id for seed in range(10)]
        broken = [plain.open_session(each).generate("a", max_tokens=ENDLESS, temperature=0) for each in ids[:5]]
        length = 60_000
        whole = [Session(patient, each, 0).generate("a", max_tokens=length, temperature=0) for each in ids[5:]]
        whole += [patient.generate("a", max_tokens=length, temperature=0) for _ in range(3)]
        reading = [pool.submit(read, stream) for stream in (*broken, *whole)]
        for _ in reading:
            assert begun.acquire(timeout=LIMIT_S)
        first.process.terminate()
        told.set()
        for session_id, each in zip(ids[:5], reading, strict=False):
            stream, error = each.result(LIMIT_S)
            assert isinstance(error, Draining)
            assert stream.text == greedy_text("a", len(stream.text))
            assert error.position == 1 + len(stream.text) == stored_position(shared_redis, session_id)
        assert first.process.wait(LIMIT_S) == 0
        text = greedy_text("a", length)
        for each in reading[5:]:
            stream, error = each.result(LIMIT_S)
            assert error is None
            assert stream.text == text
            assert stream.resumes >= 1
    with Client(second.address, resume=None) as client:
        for session_id, each in zip(ids[:5], reading, strict=False):
            had = each.result()[0].text
            session = client.open_session(session_id)
            more = session.generate(max_tokens=10, temperature=0, expected_position=1 + len(had)).read()
            assert more == greedy_text("a", len(had) + 10)[-10:]


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_store_that_is_away_takes_nothing_from_sessions_in_memory(
    bundle: Path, durable_redis: RedisServer, keys: Path, how: str
) -> None:
    redis = durable_redis
    with ExitStack() as stack:
        replicas = Replicas(bundle, redis, keys, stack)
        server, other = replicas.start(), replicas.start()
        client = stack.enter_context(Client(server.address, resume=None))
        elsewhere = stack.enter_context(Client(other.address, resume=None))
        resident = Session(client, client.create_session().id, 0)
        assert resident.generate("a", max_tokens=30, temperature=0).read() == greedy_text("a", 30)
        foreign = elsewhere.create_session().id
        assert server.read_page("/readyz") == "ready\n"

        redis.stop() if how == "stopped" else redis.freeze()
        made = Session(client, client.create_session().id, 0)  # what it says may arrive when the store is back
        wait_until(lambda: server.read_page("/readyz").startswith("degraded"), "the server says so")
        late = Session(client, client.create_session().id, 0)
        assert resident.generate(max_tokens=30, temperature=0).read() == greedy_text("a", 60)[30:]
        assert resident.rewind(to=11).position == 11
        for session in (made, late):
            assert session.generate("a", max_tokens=30, temperature=0).read() == greedy_text("a", 30)
        for session_id in (foreign, "x" * 22):
            with pytest.raises(StoreUnavailable) as caught:
                client.open_session(session_id).generate("a", max_tokens=1).read()
            assert caught.value.retry_after_s

        redis.start() if how == "stopped" else redis.thaw()
        wait_until(lambda: server.read_page("/readyz") == "ready\n", "the server says so")
        assert resident.generate(max_tokens=5, temperature=0).read() == greedy_text("a", 15)[10:]
        assert stored_position(redis, resident.id) == 16
        for session in (made, late):
            assert session.generate(max_tokens=30, temperature=0).read() == greedy_text("a", 60)[30:]
            assert stored_position(redis, session.id) == 61
            there = elsewhere.open_session(session.id)
            assert there.generate(max_tokens=30, temperature=0).read() == greedy_text("a", 90)[60:]


def test_an_old_copy_is_not_taken_for_the_session_while_the_store_is_away(
    bundle: Path, durable_redis: RedisServer, keys: Path
) -> None:
    with ExitStack() as stack:
        replicas = Replicas(bundle, durable_redis, keys, stack)
        maker, other = replicas.start(), replicas.start()
        client, elsewhere = (stack.enter_context(Client(each.address, resume=None)) for each in (maker, other))
        old = client.create_session()
        there = Session(elsewhere, old.id, 0)
        assert there.generate("a", max_tokens=30, temperature=0).read() == greedy_text("a", 30)
        here = Session(client, old.id, there.position)

        durable_redis.stop()
        wait_until(lambda: maker.read_page("/readyz").startswith("degraded"), "the server says so")
        for call in (
            here.info,
            here.generate(max_tokens=5, expected_position=31).read,
            lambda: here.rewind(to=0, expected_position=31),
            lambda: here.fork(1, expected_position=31),
            lambda: here.snapshot(expected_position=31),
            lambda: here.delete(expected_position=31),
        ):
            with pytest.raises(StoreUnavailable):
                call()
        assert there.generate(max_tokens=30, temperature=0).read() == greedy_text("a", 60)[30:]
        assert there.info().position == 61  # as nobody else can know

        durable_redis.start()
        for each in (maker, other):
            wait_until(lambda each=each: each.read_page("/readyz") == "ready\n", "the server says so")  # type: ignore[misc]
        here = Session(client, old.id, there.position)
        assert here.generate(max_tokens=30, temperature=0).read() == greedy_text("a", 90)[60:]


def test_what_could_not_be_stored_is_stored_when_the_store_is_back(
    bundle: Path, durable_redis: RedisServer, keys: Path
) -> None:
    with ExitStack() as stack:
        replicas = Replicas(bundle, durable_redis, keys, stack)
        server, other = replicas.start(), replicas.start()
        client, elsewhere = (stack.enter_context(Client(each.address, resume=None)) for each in (server, other))
        rewound = Session(client, client.create_session().id, 0)
        assert rewound.generate("a", max_tokens=30, temperature=0).read() == greedy_text("a", 30)

        durable_redis.stop()
        wait_until(lambda: server.read_page("/readyz").startswith("degraded"), "the server says so")
        made = Session(client, client.create_session().id, 0)
        assert made.generate("a", max_tokens=30, temperature=0).read() == greedy_text("a", 30)
        assert rewound.rewind(to=11).position == 11
        durable_redis.start()

        for session_id, position in ((made.id, 31), (rewound.id, 11)):
            wait_until(lambda: stored_position(durable_redis, session_id) == position, "it is stored")  # noqa: B023
            there = elsewhere.open_session(session_id)
            more = there.generate(max_tokens=30, temperature=0, expected_position=position).read()
            assert more == greedy_text("a", position + 29)[position - 1 :]


def test_a_session_that_is_used_here_and_there_never_goes_back(replicas: Replicas) -> None:
    servers = replicas.start(), replicas.start()
    with Client(servers[0].address, resume=None) as first, Client(servers[1].address, resume=None) as second:
        session_id = first.create_session(seed=3).id
        longer = first.generate("a", max_tokens=51 * 7, seed=3).read()
        whole = longer[:-7]
        handles = [first.open_session(session_id), second.open_session(session_id)]
        text = ""
        for turn in range(50):
            other = handles[1 - turn % 2]
            stream = handles[turn % 2].generate("" if turn else "a", max_tokens=7)
            text += stream.read()
            assert stream.finish is not None
            assert stream.finish.start_position == (1 + 7 * turn if turn else 0)
            assert other.info().position == 1 + 7 * (turn + 1)
        assert text == whole
        handles[0].generate("z", max_tokens=7).read()
        assert handles[0].rewind(to=351, expected_position=359).position == 351
        assert handles[1].generate(max_tokens=7, expected_position=351).read() == longer[-7:]
        copies = handles[0].fork(3)
        assert [second.get_session(copy.id).position for copy in copies] == [358, 358, 358]
        handles[1].delete()
        with pytest.raises(UnrolledError, match="no such session"):
            handles[0].info()


def test_looking_at_a_session_does_not_keep_it(replicas: Replicas) -> None:
    first, second = replicas.start(), replicas.start()
    with Client(first.address) as client, Client(second.address) as other:
        session_id = client.create_session(ttl_s=1).id

        def is_gone() -> bool:
            try:
                client.get_session(session_id)
                other.get_session(session_id)
            except SessionExpired:
                return True
            return False

        wait_until(is_gone, "the session has expired")


def test_a_cut_network_is_not_noticed_by_twenty_readers(replicas: Replicas) -> None:
    draw = random.Random(11)
    cuts = [draw.randrange(1, 40_000) for _ in range(8)]
    server = replicas.start()
    seeds = range(10)
    with (
        Network() as network,
        Client(server.address) as direct,
        Client(network.link("client", "server", server.address)) as client,
        ThreadPoolExecutor(2 * len(seeds)) as pool,
    ):
        network.impair("client", "server", Impairment(cuts=cuts))
        length = LONG // 2
        whole = [direct.generate("a", max_tokens=length, seed=seed).read() for seed in seeds]
        handles = [Session(client, direct.create_session(seed=seed).id, 0) for seed in seeds]
        streams = [client.generate("a", max_tokens=length, seed=seed, max_chunk_tokens=64) for seed in seeds]
        streams += [handle.generate("a", max_tokens=length, max_chunk_tokens=64) for handle in handles]
        texts = [*pool.map(lambda stream: stream.read(), streams)]

    assert texts == [*whole, *whole]
    assert sum(stream.resumes for stream in streams) >= network.cut >= 5


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"store": "redis://127.0.0.1:1"}, "store needs snapshot_keys"),
        ({"store": "http://127.0.0.1:1", "snapshot-keys": "KEYS"}, "the store's URL must begin with"),
        ({"snapshot-keys": "/nowhere/snapshot.keys"}, "/nowhere/snapshot.keys"),
        ({"store-interval-s": "5", "store-lease-s": "5"}, "store_interval_s must be shorter than store_lease_s"),
    ],
)
def test_a_server_that_could_not_keep_sessions_does_not_start(
    bundle: Path, keys: Path, settings: dict[str, str], fault: str
) -> None:
    command = [sys.executable, "-m", "unrolled_service", "--bundle", str(bundle), "--listen", "127.0.0.1:0"]
    command += ["--metrics-listen", "127.0.0.1:0"]
    for name, value in settings.items():
        command += [f"--{name}", str(keys) if value == "KEYS" else value]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ended.returncode == 1
    assert fault in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ": :" not in ended.stderr

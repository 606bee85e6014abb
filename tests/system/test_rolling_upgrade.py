"""Servers of two versions side by side: what began with one is continued by its like, or refused and reported."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.fleet import LONG, Fleet, kill
from tests.support.redis import RedisServer, running_redis
from tests.support.server import ServerProcess
from tests.support.windows import SMALL_WINDOW
from tests.system.conftest import SHARPNESS
from unrolled.v1.snapshot_pb2 import Snapshot
from unrolled_client import Client, ResumePolicy
from unrolled_client.errors import ModelMismatch, SnapshotMismatch, Unreachable
from unrolled_client.session import Session
from unrolled_service.snapshots.envelope import seal, unseal
from unrolled_service.snapshots.keys import Keys

STORED = pytest.mark.program("redis-server")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle of the same name, which writes other texts."""
    folder = tmp_path_factory.mktemp("newer") / "alphabet"
    return write_bundle(folder, letters="zyxwvutsrqponmlkjihgfedcba", sharpness=SHARPNESS)


def mismatches(server: ServerProcess, differs: str) -> float:
    return server.read_metric("unrolled_mismatches_total", differs=differs)


def refusals(server: ServerProcess) -> list[str]:
    """Return what the log says differs, a line for each refusal."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line["differs"] for line in lines if line["event"] == "refused" and "differs" in line]


@STORED
def test_a_session_of_the_old_bundle_is_left_to_the_servers_that_have_it(
    stack: ExitStack, bundle: Path, newer: Path, tmp_path: Path, redis: RedisServer
) -> None:
    fleet = Fleet(stack, tmp_path, redis)
    # So long a lease that the old server would be seen to wait for it.
    old, new = fleet.start(bundle), fleet.start(newer, store_lease_s=600)
    here, there = (stack.enter_context(Client(server.address, resume=None)) for server in (old, new))
    session = Session(here, here.create_session(seed=4).id, 0)
    begun = session.generate("a", max_tokens=20).read()

    with pytest.raises(SnapshotMismatch, match="which is not served here"):
        there.open_session(session.id).generate(max_tokens=20).read()

    assert mismatches(new, "bundle") == 1
    assert refusals(new) == ["bundle"]
    assert begun + session.generate(max_tokens=20).read() == here.generate("a", max_tokens=40, seed=4).read()


@STORED
def test_a_session_of_other_arithmetic_is_refused_and_reported(
    stack: ExitStack, bundle: Path, tmp_path: Path, redis: RedisServer
) -> None:
    fleet = Fleet(stack, tmp_path, redis)
    first = fleet.start(bundle)
    with Client(first.address) as client:
        session_id = client.create_session(seed=4).id
        Session(client, session_id, 0).generate("a", max_tokens=20).read()
    kill(first)
    keys = Keys.read(fleet.keys)
    with redis.connect() as store:
        place = f"unrolled:{{{session_id}}}"
        stored = Snapshot.FromString(unseal(store.hget(place, "snapshot"), keys))
        stored.numerics = b"\x05" * 32
        store.hset(place, "snapshot", seal(stored.SerializeToString(), keys))

    second = fleet.start(bundle)
    with Client(second.address, resume=None) as client, pytest.raises(SnapshotMismatch, match="rounds differently"):
        client.open_session(session_id).generate(max_tokens=20).read()
    assert mismatches(second, "numerics") == 1
    assert refusals(second) == ["numerics"]


def test_a_stream_is_not_continued_by_another_bundle_of_the_name(
    stack: ExitStack, bundle: Path, newer: Path, tmp_path: Path
) -> None:
    fleet = Fleet(stack, tmp_path)
    old = fleet.start(bundle)
    policy = ResumePolicy(max_attempts=3, initial_backoff_s=0.01)
    with Client(old.address, options=SMALL_WINDOW, resume=policy) as client:
        whole = client.generate("a", max_tokens=LONG, seed=3).read()
        stream = client.generate("a", max_tokens=LONG, seed=3)
        next(stream)
        kill(old)
        new = fleet.start(newer, listen=old.address)

        with pytest.raises(Unreachable) as caught:
            stream.read()

    assert isinstance(caught.value.__cause__, ModelMismatch)
    assert stream.text
    assert whole.startswith(stream.text)
    assert mismatches(new, "bundle") > 0
    assert {*refusals(new)} == {"bundle"}


def test_a_stream_finds_the_servers_that_still_have_its_bundle(
    stack: ExitStack, bundle: Path, newer: Path, tmp_path: Path
) -> None:
    fleet = Fleet(stack, tmp_path)
    old, also_old = fleet.start(bundle), fleet.start(bundle)
    new = fleet.start(newer)
    with Client(old.address, options=SMALL_WINDOW) as client:
        whole = client.generate("a", max_tokens=LONG, seed=3).read()
    with Client([old.address, new.address, also_old.address], options=SMALL_WINDOW) as client:
        streams = [client.generate("a", max_tokens=LONG, seed=3) for _ in range(9)]
        for stream in streams:
            next(stream)
        kill(old)
        texts = [stream.read() for stream in streams]

    assert texts.count(whole) == 6
    assert sum(stream.resumes > 0 for stream in streams) == 3
    assert mismatches(new, "bundle") > 0

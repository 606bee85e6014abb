"""A client alone spreads its calls over servers, and loses nothing when one of them goes."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fleet import ENDLESS, LIMIT_S, LONG, Fleet, kill
from tests.support.redis import RedisServer, running_redis
from tests.support.server import ServerProcess, wait_until
from tests.support.windows import SMALL_WINDOW
from unrolled_client import AsyncClient, Client
from unrolled_client.errors import SessionBusy, UnrolledError
from unrolled_client.session import Session

STORED = pytest.mark.program("redis-server")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


def target_of(*servers: ServerProcess) -> str:
    return ",".join(server.address for server in servers)


def running_streams(server: ServerProcess) -> float:
    return server.read_metric("unrolled_streams_active")


def finished(servers: list[ServerProcess]) -> list[float]:
    """Return how many streams each server has brought to their end."""
    return [server.read_metric("unrolled_streams_total", finish="length") for server in servers]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_goes_on_at_another_server_without_any_store(
    stack: ExitStack, bundle: Path, tmp_path: Path, kind: str
) -> None:
    fleet = Fleet(stack, tmp_path)
    servers = [fleet.start(bundle) for _ in range(2)]

    def lose_the_one_that_runs_it() -> None:
        wait_until(lambda: sum(map(running_streams, servers)) == 1, "the stream before this one is closed")
        (busy,) = [server for server in servers if running_streams(server)]
        kill(busy)

    async def read() -> tuple[str, int]:
        async with (
            AsyncClient(target_of(*servers), options=SMALL_WINDOW) as client,
            client.generate("a", max_tokens=LONG, seed=3) as stream,
        ):
            await anext(stream)
            await asyncio.to_thread(lose_the_one_that_runs_it)
            return await stream.read(), stream.resumes

    with Client(target_of(*servers), options=SMALL_WINDOW) as client:
        whole = client.generate("a", max_tokens=LONG, seed=3).read()
        if kind == "async":
            text, resumes = asyncio.run(read())
        else:
            with client.generate("a", max_tokens=LONG, seed=3) as stream:
                next(stream)
                lose_the_one_that_runs_it()
                text, resumes = stream.read(), stream.resumes

    assert text == whole
    assert resumes == 1


def test_sessions_in_no_store_stay_where_they_were_made(stack: ExitStack, bundle: Path, tmp_path: Path) -> None:
    fleet = Fleet(stack, tmp_path)
    servers = [fleet.start(bundle) for _ in range(2)]
    with Client(target_of(*servers)) as client:
        handles = [Session(client, client.create_session(seed=seed).id, 0) for seed in range(12)]
        texts = [handle.generate("a", max_tokens=20).read() for handle in handles]
        texts = [text + handle.generate(max_tokens=20).read() for text, handle in zip(texts, handles, strict=True)]
        forks = [handle.fork(2)[1].info() for handle in handles]

        assert texts == [client.generate("a", max_tokens=40, seed=seed).read() for seed in range(12)]
        assert {fork.position for fork in forks} == {41}
        assert not any(fork.is_stored for fork in forks)
        assert len({info.id for info in client.list_sessions(page_size=5)}) == 36
        each_has = [len(list(alone.list_sessions())) for alone in _clients(stack, servers)]
        assert sum(each_has) == 36
        assert min(each_has) > 0


@STORED
def test_sessions_have_a_home_leave_it_when_it_dies_and_come_back(
    stack: ExitStack, bundle: Path, tmp_path: Path, redis: RedisServer
) -> None:
    fleet = Fleet(stack, tmp_path, redis)
    servers = [fleet.start(bundle) for _ in range(3)]
    client = stack.enter_context(Client(target_of(*servers)))
    whole = [client.generate("a", max_tokens=50, seed=seed).read() for seed in range(30)]
    made = [client.create_session(seed=seed) for seed in range(30)]
    assert all(info.is_stored for info in made)
    handles = [Session(client, info.id, 0) for info in made]

    def go_on() -> list[str]:
        return [handle.generate("" if handle.position else "a", max_tokens=10).read() for handle in handles]

    begun = finished(servers)
    parts = [go_on()]
    homes = [now - before for now, before in zip(finished(servers), begun, strict=True)]
    parts.append(go_on())
    assert finished(servers) == [before + 2 * home for before, home in zip(begun, homes, strict=True)]
    assert min(homes) > 0

    kill(servers[0])
    parts.append(go_on())
    with Client(target_of(*servers)) as stranger:  # which never heard of them
        assert [stranger.get_session(info.id).position for info in made] == [31] * 30

    servers[0] = fleet.start(bundle, listen=servers[0].address)

    def has_sessions() -> bool:
        assert {handle.info().position for handle in handles} == {31}
        return servers[0].read_metric("unrolled_sessions") > 0

    wait_until(has_sessions, "it is known to be back")
    begun = finished(servers)
    parts.append(go_on())
    parts.append(go_on())
    assert finished(servers) == [before + 2 * home for before, home in zip(begun, homes, strict=True)]
    assert ["".join(pieces) for pieces in zip(*parts, strict=True)] == whole


@STORED
def test_a_drained_servers_streams_go_on_elsewhere_at_once(
    stack: ExitStack, bundle: Path, tmp_path: Path, redis: RedisServer
) -> None:
    fleet = Fleet(stack, tmp_path, redis)
    servers = [fleet.start(bundle, drain_grace_s=0.1) for _ in range(2)]
    client = stack.enter_context(Client(target_of(*servers), options=SMALL_WINDOW))
    whole = [client.generate("a", max_tokens=LONG, seed=seed).read() for seed in range(8)]
    handles = [Session(client, client.create_session(seed=seed).id, 0) for seed in range(8)]
    streams = [handle.generate("a", max_tokens=LONG) for handle in handles]
    for stream in streams:
        next(stream)

    servers[0].process.terminate()
    assert servers[0].process.wait(LIMIT_S) == 0

    assert [stream.read() for stream in streams] == whole
    assert Counter(min(stream.resumes, 1) for stream in streams)[1] > 0
    assert {stream.finish.position for stream in streams if stream.finish} == {1 + LONG}


@STORED
def test_a_call_that_is_not_made_twice_meets_a_server_that_lives(
    stack: ExitStack, bundle: Path, tmp_path: Path, redis: RedisServer
) -> None:
    fleet = Fleet(stack, tmp_path, redis)
    servers = [fleet.start(bundle) for _ in range(2)]
    client = stack.enter_context(Client(target_of(*servers), resume=None))
    ids = [client.create_session().id for _ in range(20)]
    for session_id in ids:
        client.get_session(session_id)
    kill(servers[0])

    errors = 0
    for session_id in ids:
        try:
            client.delete_session(session_id)
        except SessionBusy:
            raise
        except UnrolledError:
            errors += 1
    assert errors == 1  # the first one that was at home there; from then on it is known


def test_calls_without_a_session_are_spread(stack: ExitStack, bundle: Path, tmp_path: Path) -> None:
    fleet = Fleet(stack, tmp_path)
    servers = [fleet.start(bundle) for _ in range(2)]
    with Client(target_of(*servers), options=SMALL_WINDOW) as client:
        streams = [client.generate("a", max_tokens=ENDLESS) for _ in range(6)]
        for stream in streams:
            next(stream)
        assert [running_streams(server) for server in servers] == [3, 3]
        for stream in streams:
            stream.close()


def _clients(stack: ExitStack, servers: list[ServerProcess]) -> Iterator[Client]:
    return (stack.enter_context(Client(server.address)) for server in servers)

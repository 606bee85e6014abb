"""A client of several servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.server import wait_until
from tests.unit.client.fake_server import FakeServer, bare_session, refusal, running
from unrolled_client import ResumePolicy, errors

AT_ONCE = ResumePolicy(
    max_attempts=1, timeout_s=20, initial_backoff_s=60, max_backoff_s=60
)  # a pause would be too long


@pytest.fixture
def fakes() -> Iterator[list[FakeServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(FakeServer(prefix=name))) for name in "abc"]


def target(fakes: list[FakeServer]) -> str:
    return ",".join(fake.target for fake in fakes)


def asked(fakes: list[FakeServer]) -> list[int]:
    return [len(fake.requests) for fake in fakes]


def keep(fakes: list[FakeServer], session_id: str) -> None:
    """Make a session that every server can continue, as with a store."""
    for fake in fakes:
        fake.sessions[session_id] = bare_session(session_id, stored=True)


def test_a_stored_session_has_a_home(fakes: list[FakeServer], connect: Callable[..., Any]) -> None:
    keep(fakes, "shared")
    for _ in range(2):
        with connect(target(fakes)) as client:
            for _ in range(3):
                client.get_session("shared")
    assert sorted(asked(fakes)) == [0, 0, 6]


@pytest.mark.parametrize("reason", ["DRAINING", None])
def test_a_server_that_is_lost_is_left_at_once_and_found_again_when_it_serves(
    fakes: list[FakeServer], connect: Callable[..., Any], reason: str | None
) -> None:
    keep(fakes, "shared")
    with connect(target(fakes), resume=AT_ONCE) as client:
        client.get_session("shared")
        home = asked(fakes).index(1)
        lost = refusal(reason) if reason else refusal("DRAINING", domain="of somebody else")
        fakes[home].refusals["GetSessionRequest"] = [lost]
        client.get_session("shared")
        assert sorted(asked(fakes)) == [0, 1, 2]

        def is_home_again() -> bool:
            before = asked(fakes)[home]
            client.get_session("shared")
            return asked(fakes)[home] > before

        wait_until(is_home_again, "the server is asked again")


def test_a_stream_leaves_a_server_that_drains_at_once(fakes: list[FakeServer], connect: Callable[..., Any]) -> None:
    for fake in fakes[:2]:
        fake.refusals["GenerateRequest"] = [refusal("DRAINING")]
    policy = ResumePolicy(max_attempts=2, timeout_s=20, initial_backoff_s=60, max_backoff_s=60)
    with connect(target(fakes), resume=policy) as client:
        texts = [client.generate("x", max_tokens=3).read() for _ in range(6)]
    assert texts == ["abc"] * 6


def test_a_session_in_no_store_is_called_where_it_was_made(
    fakes: list[FakeServer], connect: Callable[..., Any]
) -> None:
    with connect(target(fakes), resume=AT_ONCE) as client:
        made = [client.create_session().id for _ in range(9)]
        for session_id in {*made}:
            client.get_session(session_id)
            assert client.open_session(session_id).generate("x", max_tokens=3).read()
        maker = next(fake for fake in fakes if made[0] in fake.sessions)
        maker.refusals["GetSessionRequest"] = [refusal("DRAINING")]
        with pytest.raises(errors.Draining):
            client.get_session(made[0])
        client.get_session(made[0])


def test_a_session_is_made_again_where_it_may_be(fakes: list[FakeServer], connect: Callable[..., Any]) -> None:
    policy = ResumePolicy(max_attempts=1, initial_backoff_s=0)
    for fake in fakes:
        fake.lost_replies["CreateSessionRequest"] = [refusal("STORE_UNAVAILABLE")] * 9
    with connect(target(fakes), resume=policy) as client:
        for _ in range(4):
            with pytest.raises(errors.StoreUnavailable):
                client.create_session()
    assert all(number % 2 == 0 for number in asked(fakes))
    assert sum(len(fake.sessions) for fake in fakes) == 4


def test_the_sessions_of_all_are_listed(fakes: list[FakeServer], connect: Callable[..., Any]) -> None:
    for number, fake in enumerate(fakes):
        fake.sessions = {f"{number}-{i}": bare_session(f"{number}-{i}") for i in range(3)}
    with connect(target(fakes)) as client:
        listed = [info.id for info in client.list_sessions(page_size=2)]
        assert listed == [f"{number}-{i}" for number in range(3) for i in range(3)]
        assert [client.get_session(session_id).id for session_id in listed] == listed  # each where it was seen

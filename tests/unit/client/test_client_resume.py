"""Streams that break and go on, over the wire; test_course.py has every place where they can break."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from tests.unit.client.fake_server import (
    PATIENCE_S,
    Cut,
    FakeServer,
    Hang,
    alphabet,
    bare_session,
    bare_status,
    chunk,
    finish,
    refusal,
    running,
)
from tests.unit.client.test_client_models import served
from unrolled.v1 import generation_pb2, session_pb2
from unrolled_client import AsyncClient, Client, ResumePolicy, errors

CUT = bare_status(14, "cut")
DRAINING = refusal("DRAINING", "going")
ENDLESS = ResumePolicy(initial_backoff_s=100, max_backoff_s=100, timeout_s=1_000)


def generations(fake: FakeServer) -> list[Any]:
    return [each for each in fake.requests if isinstance(each, generation_pb2.GenerateRequest)]


def test_a_throw_away_stream_goes_on_as_if_nothing_had_happened(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(4, CUT), Cut(0, DRAINING), Cut(5, refusal("STORE_UNAVAILABLE")), Cut(11, CUT)]
    options = {"max_tokens": 20, "temperature": 0.5, "stop": "?", "resumed_tokens": 1}
    with hasty.generate("ab", **options) as stream:
        chunks = list(stream.chunks())
    assert stream.text == "".join(each.text for each in chunks) == alphabet(2, 20)
    assert [each.position for each in chunks] == [5, 6, 9, 11, 14, 17, 20, 22]
    assert stream.resumes == 3
    ended = stream.finish
    assert (ended.prompt_tokens, ended.generated_tokens, ended.start_position) == (2, 20, 0)
    assert (ended.position, stream.position, ended.reason) == (22, 22, "length")
    first, *others = generations(fake)
    assert {each.seed for each in others} == {first.seed} == {stream.seed}
    assert {each.sampling.temperature for each in others} == {0.5}
    assert [(each.prompt, each.max_tokens, each.resumed_tokens) for each in others] == [
        ("ab" + alphabet(2, 4), 16, 5),
        ("ab" + alphabet(2, 4), 16, 5),
        ("ab" + alphabet(2, 9), 11, 10),
        ("ab" + alphabet(2, 19), 1, 20),
    ]


@pytest.mark.parametrize("code", [2, 13, 14])
def test_a_proxy_that_lost_its_server_breaks_the_stream_and_does_not_end_it(
    hasty: Any, fake: FakeServer, code: int
) -> None:
    fake.cuts = [Cut(4, bare_status(code, "Received RST_STREAM with error code 2"))]
    with hasty.session() as session:
        stream = session.generate("ab", max_tokens=20)
        assert stream.read() == alphabet(2, 20)
    assert stream.resumes == 1


def test_a_seed_that_was_given_is_kept(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(1, CUT)]
    assert hasty.generate("a", max_tokens=3, seed=0).read() == alphabet(1, 3)
    assert [each.seed for each in fake.requests] == [0, 0]
    assert all(each.HasField("seed") for each in fake.requests)


@pytest.mark.parametrize("counted", [0, 3, -2, -4])
def test_a_sessions_stream_goes_on_from_wherever_the_session_is(hasty: Any, fake: FakeServer, counted: int) -> None:
    fake.models = [served("letters")]
    fake.cuts = [Cut(0, CUT), Cut(4, CUT, counted)]
    with hasty.session() as session:
        stream = session.generate("abc", max_tokens=9)
        assert stream.read() == alphabet(3, 9)
        assert session.position == stream.position == fake.sessions["s0"].position == 12
        assert (stream.finish.prompt_tokens, stream.finish.generated_tokens) == (3, 9)
        assert stream.finish.start_position == 0
        assert session.generate(max_tokens=2).read() == alphabet(12, 2)
    assert not any(each.HasField("seed") for each in generations(fake))
    rewinds = [each for each in fake.requests if isinstance(each, session_pb2.RewindSessionRequest)]
    wanted = session_pb2.RewindSessionRequest(session_id="s0", position=7, expected_position=10)
    assert rewinds == ([wanted] if counted > 0 else [])


@pytest.mark.parametrize(("told", "counted", "asked"), [(7, 0, 0), (7, 3, 1), (10, 3, 1), (5, -2, 1)])
def test_where_a_server_that_drains_has_left_the_session_is_not_asked_again(
    hasty: Any, fake: FakeServer, told: int, counted: int, asked: int
) -> None:
    fake.models = [served("letters")]
    fake.cuts = [Cut(4, refusal("DRAINING", position=str(told)), counted)]
    with hasty.session() as session:
        assert session.generate("abc", max_tokens=9).read() == alphabet(3, 9)
        assert session.position == fake.sessions["s0"].position == 12
    assert sum(isinstance(each, session_pb2.GetSessionRequest) for each in fake.requests) == asked


def test_a_lost_finish_is_asked_for_again(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(5, CUT)]
    with hasty.session() as session:
        stream = session.generate("abc", max_tokens=5)
        assert list(stream) == [alphabet(3, 3), alphabet(6, 2)]
        assert (stream.finish.generated_tokens, stream.resumes, session.position) == (5, 1, 8)
    assert generations(fake)[1] == generation_pb2.GenerateRequest(
        session_id="s0", max_tokens=1, expected_position=7, resumed_tokens=0
    )


def test_a_session_opened_by_id_asks_where_it_is_at_the_first_read(hasty: Any, fake: FakeServer) -> None:
    fake.sessions["s7"] = bare_session("s7", position=4)
    fake.cuts = [Cut(0, CUT)]
    stream = hasty.open_session("s7").generate("ab", max_tokens=4)
    assert fake.requests == []
    assert stream.read() == alphabet(6, 4)
    assert stream.finish.start_position == 4
    assert generations(fake)[0].expected_position == 4


def test_a_session_that_moved_on_is_followed_by_those_who_share_it(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = []
    with hasty.session() as session:
        fake.sessions[session.id].position = 5
        with pytest.raises(errors.PositionMismatch, match="at position 5, after 0"):
            session.generate("a", max_tokens=2).read()
        shared = hasty.open_session(session.id)
        for position in (5, 12):
            fake.sessions[session.id].position = position
            stream = shared.generate("a", max_tokens=2)
            assert stream.read() == alphabet(position + 1, 2)
            assert (stream.finish.start_position, stream.resumes) == (position, 0)
        with pytest.raises(errors.PositionMismatch) as caught:
            shared.generate("a", max_tokens=2, expected_position=5).read()
        assert caught.value.position == 15


def test_a_session_that_is_busy_with_the_broken_stream_is_waited_for(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(4, CUT), Cut(0, refusal("SESSION_BUSY")), Cut(0, refusal("SESSION_MOVED"))]
    with hasty.session() as session:
        assert session.generate("abc", max_tokens=9).read() == alphabet(3, 9)
        fake.cuts = [Cut(0, refusal("SESSION_BUSY"))]
        with pytest.raises(errors.SessionBusy):
            session.generate("abc", max_tokens=9).read()


def test_a_session_that_is_gone_says_so_and_what_came_before(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(4, DRAINING)]
    session = hasty.restore(bare_session("kept").SerializeToString())
    stream = session.generate("abc", max_tokens=9)
    next(iter(stream))
    fake.sessions.clear()
    with pytest.raises(errors.SessionNotFound) as caught:
        stream.read()
    assert isinstance(caught.value.__cause__, errors.Draining)
    assert stream.text == alphabet(3, 4)


def test_a_break_that_cannot_be_overcome_is_the_first_one(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(4, DRAINING), *(Cut(0, CUT) for _ in range(4))]
    stream = hasty.generate("a", max_tokens=9)
    for _ in range(2):
        with pytest.raises(errors.Draining, match="going") as caught:
            stream.read()
    assert isinstance(caught.value.__cause__, errors.Unreachable)
    assert (stream.text, stream.resumes, len(fake.requests)) == (alphabet(1, 4), 0, 4)


def test_a_stream_without_a_finish_is_continued(hasty: Any, fake: FakeServer) -> None:
    fake.script = [chunk("b", 2)]
    stream = hasty.generate("a", max_tokens=3)
    assert next(iter(stream)) == "b"
    fake.script = [chunk("cd", 4), finish(generation_pb2.GenerateRequest(), 4)]
    assert stream.read() == "bcd"


def test_resuming_is_off_on_request(hasty: Any, brittle: Any, fake: FakeServer) -> None:
    for client, options in ((hasty, {"resume": False}), (brittle, {})):
        fake.cuts = [Cut(4, CUT)]
        stream = client.generate("a", max_tokens=9, **options)
        with pytest.raises(errors.Unreachable):
            stream.read()
        assert (stream.text, stream.resumes) == (alphabet(1, 4), 0)
    assert not any(each.HasField("seed") for each in fake.requests)
    with brittle.open_session("s0") as session:
        assert session.generate("a", max_tokens=3).read() == alphabet(1, 3)
    assert fake.requests[-1] == generation_pb2.GenerateRequest(session_id="s0", prompt="a", max_tokens=3)


def test_the_calls_timeout_covers_its_resuming(fake: FakeServer, connect: Callable[..., Any]) -> None:
    fake.cuts = [Cut(4, CUT)]
    with connect(fake.target, resume=ENDLESS) as client, pytest.raises(errors.Unreachable):
        client.generate("a", max_tokens=9, timeout=50).read()
    assert len(fake.requests) == 1


def test_a_continuation_has_the_time_that_is_left(hasty: Any, fake: FakeServer) -> None:
    fake.cuts = [Cut(4, CUT)]
    hasty.generate("a", max_tokens=9, timeout=50).read()
    first_s, second_s = fake.deadlines_s
    assert 0 < (second_s or 0) <= (first_s or 0) + 0.5


def test_a_server_says_when_to_come_back(hasty: Any, fake: FakeServer) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=3_600))
    fake.cuts = [Cut(4, refusal("STORE_UNAVAILABLE", "mute", retry))]
    with pytest.raises(errors.StoreUnavailable):
        hasty.generate("a", max_tokens=9).read()


def test_another_server_at_the_same_address_goes_on(connect: Callable[..., Any]) -> None:
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with connect(address) as client:
            with running(FakeServer(script=[chunk("bcd", 4), Hang()]), address=address):
                stream = client.generate("a", max_tokens=9)
                assert next(iter(stream)) == "bcd"
            with running(FakeServer(cuts=[]), address=address) as second:
                assert stream.read() == alphabet(1, 9)
            assert stream.resumes == 1
            assert second.requests[0].prompt == "abcd"


def test_another_thread_can_cancel_a_stream_that_waits_to_be_resumed(fake: FakeServer) -> None:
    fake.cuts = [Cut(3, CUT)]
    with Client(fake.target, resume=ENDLESS) as client, client.generate("a", max_tokens=9) as stream:
        assert next(stream) == "bcd"
        canceller = threading.Timer(0.05, stream.cancel)
        canceller.start()
        with pytest.raises(errors.Cancelled, match="this program closed"):
            stream.read()
        canceller.join()


@pytest.mark.parametrize("is_task", [True, False])
def test_a_task_that_waits_to_resume_can_be_cancelled_and_so_can_its_stream(fake: FakeServer, is_task: bool) -> None:
    async def scenario() -> None:
        async with AsyncClient(fake.target, resume=ENDLESS) as client:
            stream = client.generate("a", max_tokens=9)
            assert await anext(stream) == "bcd"
            reading = asyncio.create_task(stream.read())
            asyncio.get_running_loop().call_later(0.05, reading.cancel if is_task else stream.cancel)
            with pytest.raises(asyncio.CancelledError if is_task else errors.Cancelled):
                await reading
            with pytest.raises(errors.Cancelled):
                await stream.read()

    fake.cuts = [Cut(3, CUT)]
    asyncio.run(scenario())


def test_another_thread_can_cancel_a_question_about_the_session(fake: FakeServer) -> None:
    fake.hangs = True
    with Client(fake.target) as client, client.open_session("s0").generate("a", max_tokens=9) as stream:

        def cancel_once_asked() -> None:
            fake.was_asked.wait(PATIENCE_S)
            stream.cancel()

        canceller = threading.Thread(target=cancel_once_asked)
        canceller.start()
        with pytest.raises(errors.Cancelled, match="this program closed"):
            stream.read()
        canceller.join()


def test_a_stream_of_a_closed_client_is_not_resumed(fake: FakeServer, connect: Callable[..., Any]) -> None:
    fake.cuts = [Cut(3, CUT)]
    with connect(fake.target) as client:
        stream = client.generate("a", max_tokens=9)
        next(iter(stream))
    with pytest.raises(errors.Cancelled):
        stream.read()


READS: dict[str, Callable[[Any], Any]] = {
    "ListModelsRequest": lambda client: client.models(),
    "ListSessionsRequest": lambda client: list(client.list_sessions()),
    "GetSessionRequest": lambda client: client.get_session("s0"),
    "ScoreRequest": lambda client: client.score("ab"),
    "ExportSnapshotRequest": lambda client: client.open_session("s0").snapshot(),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_repeated_within_bounds(hasty: Any, brittle: Any, fake: FakeServer, name: str) -> None:
    fake.sessions["s0"] = bare_session("s0")
    fake.refusals[name] = [CUT, DRAINING, refusal("SESSION_MOVED")]
    READS[name](hasty)
    fake.refusals[name] = [CUT] * 4
    with pytest.raises(errors.Unreachable):
        READS[name](hasty)
    assert fake.refusals[name] == []
    fake.refusals[name] = [refusal("INTERNAL"), CUT]
    with pytest.raises(errors.InternalError):
        READS[name](hasty)
    with pytest.raises(errors.Unreachable):
        READS[name](brittle)


MAKERS: dict[str, Callable[..., Any]] = {
    "CreateSessionRequest": lambda client, **key: client.create_session(**key),
    "ForkSessionRequest": lambda client, **key: client.open_session("s0").fork(2, **key),
    "ImportSnapshotRequest": lambda client, **key: client.restore(bare_session("x").SerializeToString(), **key),
}


@pytest.mark.parametrize("name", MAKERS)
def test_sessions_are_made_once_however_often_the_reply_is_lost(hasty: Any, fake: FakeServer, name: str) -> None:
    fake.sessions["s0"] = bare_session("s0")
    fake.lost_replies[name] = [CUT, refusal("IDEMPOTENCY_CONFLICT")]
    MAKERS[name](hasty)
    made = 2 if name == "ForkSessionRequest" else 1
    assert len(fake.sessions) == 1 + made
    assert len({each.idempotency_key for each in fake.requests}) == 1
    assert len(fake.requests[0].idempotency_key) == 32
    MAKERS[name](hasty)
    assert len(fake.sessions) == 1 + 2 * made
    MAKERS[name](hasty, idempotency_key="mine")
    MAKERS[name](hasty, idempotency_key="mine")
    assert len(fake.sessions) == 1 + 3 * made
    fake.refusals[name] = [refusal("IDEMPOTENCY_CONFLICT")]
    with pytest.raises(errors.IdempotencyConflict):
        MAKERS[name](hasty)


def test_a_rewind_whose_reply_is_lost_is_done(hasty: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = bare_session("s0", position=9)
    fake.lost_replies["RewindSessionRequest"] = [CUT]
    session = hasty.open_session("s0")
    assert session.rewind(to=4, expected_position=9).position == session.position == 4
    with pytest.raises(errors.PositionMismatch):
        session.rewind(to=4, expected_position=9)
    fake.lost_replies["RewindSessionRequest"] = [CUT]
    with pytest.raises(errors.Unreachable):
        session.rewind(to=3)


def test_a_rewind_that_only_a_server_without_the_session_remembers_is_done_again(hasty: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = bare_session("s0", position=9)
    fake.refusals["RewindSessionRequest"] = [CUT, refusal("POSITION_MISMATCH", position="4")]
    session = hasty.open_session("s0")
    assert session.rewind(to=4, expected_position=9).position == session.position == 4
    assert fake.sessions["s0"].position == 4
    names = [type(each).__name__.removesuffix("SessionRequest") for each in fake.requests]
    assert names == ["Rewind", "Rewind", "Get", "Rewind"]

    fake.sessions["s0"].position = 9
    fake.refusals["RewindSessionRequest"] = [CUT, refusal("POSITION_MISMATCH", position="4")]
    fake.refusals["GetSessionRequest"] = [CUT]
    assert session.rewind(to=4, expected_position=9).position == 4


def test_a_session_is_not_deleted_twice(hasty: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = bare_session("s0", position=9)
    fake.refusals["DeleteSessionRequest"] = [CUT]
    with pytest.raises(errors.Unreachable):
        hasty.delete_session("s0", preempt=True, expected_position=9)
    assert fake.requests == [session_pb2.DeleteSessionRequest(session_id="s0", preempt=True, expected_position=9)]

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.client.fake_server import PATIENCE_S, FakeServer, Hang, refusal
from unrolled.v1 import generation_pb2, session_pb2
from unrolled_client import SessionInfo, errors


def test_a_session_lives_for_its_block_and_counts_positions(client: Any, fake: FakeServer) -> None:
    with client.session(model="letters", seed=7, ttl_s=60.5) as session:
        assert (session.id, session.position) == ("s0", 0)
        assert session.generate("ROMEO:", max_tokens=15).read() == "abcdefghijklmno"
        assert session.position == 21
        session.generate(max_tokens=25).read()
        assert session.position == 46
        assert session.info().position == 46
        assert list(fake.sessions) == ["s0"]
    assert fake.sessions == {}
    fake.requests[0].ClearField("idempotency_key")
    created = session_pb2.CreateSessionRequest(model="letters", seed=7)
    created.ttl.FromMilliseconds(60_500)
    assert fake.requests == [
        created,
        generation_pb2.GenerateRequest(session_id="s0", prompt="ROMEO:", max_tokens=15, expected_position=0),
        generation_pb2.GenerateRequest(session_id="s0", max_tokens=25, expected_position=21),
        session_pb2.GetSessionRequest(session_id="s0"),
        session_pb2.DeleteSessionRequest(session_id="s0"),
    ]


def test_calls_on_a_session_carry_its_id_as_a_header(client: Any, fake: FakeServer) -> None:
    with client.session() as session:
        session.generate("x", max_tokens=1).read()
        session.info()
    assert [metadata.get("x-session-id") for metadata in fake.metadata] == [None, "s0", "s0", "s0"]


def test_the_clients_metadata_goes_with_every_call(fake: FakeServer, connect: Any) -> None:
    with connect(fake.target, metadata=(("x-tenant", "acme"),)) as client:
        client.models()
        with client.session() as session:
            session.generate("x", max_tokens=1).read()
    assert [metadata["x-tenant"] for metadata in fake.metadata] == 4 * ["acme"]


def test_short_calls_have_a_deadline(fake: FakeServer, connect: Any) -> None:
    with connect(fake.target, call_timeout=3.0) as client:
        client.models()
    assert 0 < (fake.deadlines_s[0] or 0) < 5


def test_a_session_is_deleted_when_its_block_raises(client: Any, fake: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError), client.session():
        raise ZeroDivisionError
    assert fake.sessions == {}


def test_a_failing_delete_does_not_hide_the_blocks_exception(client: Any, fake: FakeServer) -> None:
    fake.refusals["DeleteSessionRequest"] = [refusal("DRAINING")]
    with pytest.raises(ZeroDivisionError), client.session():
        raise ZeroDivisionError


def test_a_session_that_is_gone_at_the_end_of_its_block_is_fine(client: Any, fake: FakeServer) -> None:
    with client.session():
        fake.sessions.clear()
    fake.refusals["DeleteSessionRequest"] = [refusal("SESSION_EXPIRED")]
    with client.session():
        pass


def test_any_other_failure_to_delete_is_raised(client: Any, fake: FakeServer) -> None:
    fake.refusals["DeleteSessionRequest"] = [refusal("DRAINING")]
    with pytest.raises(errors.Draining), client.session():
        pass


def test_deleting_cancels_the_open_stream_and_waits_for_it_to_settle(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    fake.refusals["DeleteSessionRequest"] = 2 * [refusal("SESSION_BUSY")]
    with client.session() as session:
        stream = session.generate("x", max_tokens=9)
        assert next(iter(stream)) == "abc"
    assert fake.was_cancelled.wait(PATIENCE_S)
    assert fake.sessions == {}
    with pytest.raises(errors.Cancelled):
        stream.read()


def test_an_opened_session_outlives_its_block(client: Any, fake: FakeServer) -> None:
    made = client.create_session(seed=3)
    with client.open_session(made.id) as session:
        assert session.position is None
        session.generate("x", max_tokens=2).read()
        assert session.position == 3
    assert list(fake.sessions) == [made.id]
    client.delete_session(made.id)
    with pytest.raises(errors.SessionNotFound):
        client.get_session(made.id)
    with pytest.raises(errors.SessionNotFound):
        session.delete()


def test_a_description_is_a_value(client: Any) -> None:
    made = client.create_session(model="m", seed=3, ttl_s=60)
    assert made == SessionInfo(
        id="s0",
        model="m",
        seed=3,
        position=0,
        is_busy=False,
        create_time=datetime.fromtimestamp(1_000, UTC),
        expire_time=datetime.fromtimestamp(1_060, UTC),
        rewindable_from=0,
        tier="resident",
    )
    assert client.get_session("s0") == made


def test_listing_asks_for_page_after_page(client: Any, fake: FakeServer) -> None:
    ids = [client.create_session().id for _ in range(5)]
    fake.requests.clear()
    assert [session.id for session in client.list_sessions(page_size=2)] == ids
    assert [request.page_token for request in fake.requests] == ["", "2", "4"]
    assert [session.id for session in client.list_sessions()] == ids
    assert fake.requests[-1] == session_pb2.ListSessionsRequest()


def test_forks_begin_where_their_origin_is(client: Any, fake: FakeServer) -> None:
    with client.session(seed=7) as session:
        session.generate("ROMEO:", max_tokens=4).read()
        (alike,) = session.fork()
        others = session.fork(seeds=[1, 2], expected_position=10)
        assert [each.position for each in (alike, *others)] == [10, 10, 10]
        assert [fake.sessions[each.id].seed for each in (alike, *others)] == [7, 1, 2]
        assert len(session.fork(n=3)) == 3
        alike.generate("x", max_tokens=2).read()
        assert (alike.position, session.position) == (13, 10)
        assert fake.requests[-1].expected_position == 10
    assert [each.count for each in fake.requests if isinstance(each, session_pb2.ForkSessionRequest)] == [0, 2, 3]


def test_rewinding_takes_the_handle_along(client: Any, fake: FakeServer) -> None:
    with client.session() as session:
        session.generate("ROMEO:", max_tokens=4).read()
        assert session.rewind(to=6, preempt=True).position == session.position == 6
        assert fake.requests[-1] == session_pb2.RewindSessionRequest(session_id="s0", position=6, preempt=True)
        session.generate(max_tokens=2).read()
        assert fake.requests[-1].expected_position == 6
        with pytest.raises(errors.RewindOutOfRange):
            session.rewind(99)
        assert session.position == 8


def test_rewinding_waits_for_the_handles_own_stream_to_settle(client: Any, fake: FakeServer) -> None:
    with client.session() as session:
        fake.script = ["abc", Hang()]
        with session.generate("x", max_tokens=9) as stream:
            next(iter(stream))
            fake.refusals["RewindSessionRequest"] = 2 * [refusal("SESSION_BUSY")]
            with pytest.raises(errors.SessionBusy):
                session.rewind(to=1)
        assert session.rewind(to=1).position == 1
    assert fake.refusals["RewindSessionRequest"] == []


def test_a_snapshot_becomes_a_session(client: Any, fake: FakeServer) -> None:
    with client.session(seed=7) as session:
        session.generate("ROMEO:", max_tokens=4).read()
        blob = session.snapshot(expected_position=10)
    assert isinstance(blob, bytes)
    restored = client.restore(blob, seed=8, ttl_s=1.5, accept_other_numerics=True)
    assert (restored.id in fake.sessions, restored.position) == (True, 10)
    fake.requests[-1].ClearField("idempotency_key")
    wanted = session_pb2.ImportSnapshotRequest(snapshot=blob, seed=8, accept_other_numerics=True)
    wanted.ttl.FromMilliseconds(1_500)
    assert fake.requests[-1] == wanted


def test_a_tier_that_is_not_known_yet_is_its_number(client: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = session_pb2.Session.FromString(b"\x48\x63")
    assert client.get_session("s0").tier == "99"


def test_deleting_says_what_it_is_told(client: Any, fake: FakeServer) -> None:
    made = client.create_session(idempotency_key="mine")
    assert fake.requests[-1].idempotency_key == "mine"
    client.open_session(made.id).delete(preempt=True, expected_position=0)
    assert fake.requests[-1] == session_pb2.DeleteSessionRequest(session_id="s0", preempt=True, expected_position=0)

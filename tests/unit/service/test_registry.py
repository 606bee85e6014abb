"""Who stays and who goes: limits by count and bytes, ages, and what is said of those that are gone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.alphabet import write_bundle
from tests.support.loop import Clock, Reader, begin, generate, run, run_slice
from unrolled_service.engine import Engine
from unrolled_service.errors import (
    SessionBusy,
    SessionEvicted,
    SessionExpired,
    SessionNotFound,
    SlotsExhausted,
    UnrolledError,
)
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.sessions.session import Session
from unrolled_service.settings import Settings


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("registry") / "bundle"
    return load_bundle(write_bundle(folder))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_engine(bundle: Bundle, clock: Clock) -> Callable[..., Engine]:
    return lambda **settings: Engine([bundle], Settings(**settings), clock, mark="7")


def create(engine: Engine, number: int, *, ttl_s: float = 1e6, owner: str = "") -> list[Session]:
    return [engine.create_session("", seed=1, ttl_s=ttl_s, owner=owner) for _ in range(number)]


def fates(engine: Engine, sessions: list[Session]) -> list[type[UnrolledError] | None]:
    """Return for each session what its owner is told of it, None where it lives."""
    found: list[type[UnrolledError] | None] = []
    for session in sessions:
        try:
            assert engine.session(session.id, owner=session.owner) is session
            found.append(None)
        except UnrolledError as error:
            found.append(type(error))
    return found


def test_ids_say_which_engine_made_them(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    (session,) = create(engine, 1)
    copies = engine.fork_session(session.id, [None, 5])
    imported = engine.put_in_session(engine.take_out_session(session.id), seed=None, ttl_s=5.0)

    ids = [each.id for each in (session, *copies, imported)]
    assert len({*ids}) == 4
    assert {each[-1] for each in ids} == {"7"}
    assert [each.serial for each in (session, *copies, imported)] == [1, 2, 3, 4]


def test_sessions_count_for_the_tenant_that_has_them(make_engine: Callable[..., Engine], clock: Clock) -> None:
    """However they came: made, copied, of a snapshot, or from the store; and no more once they are gone."""
    engine = make_engine(max_sessions=5, evict_after_s=0)
    registry = engine.registry
    made = engine.create_session("", seed=1, ttl_s=1e6, owner="ada")
    engine.fork_session(made.id, [None, None], owner="ada")
    content = engine.take_out_session(made.id, owner="ada")
    registry.put_in(content, session_id=made.id)
    engine.put_in_session(content, seed=None, ttl_s=5.0)
    engine.create_session("", seed=1, ttl_s=5.0, owner="bob")
    assert [registry.owned_by(owner) for owner in ("ada", "bob", "")] == [4, 1, 0]

    clock.now += 10
    registry.expire()
    assert [registry.owned_by(owner) for owner in ("ada", "bob")] == [3, 0]
    engine.delete_session(made.id, owner="ada")
    create(engine, 4)
    assert [registry.owned_by(owner) for owner in ("ada", "")] == [2, 3]


def test_the_session_that_was_idle_for_longest_makes_room(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_sessions=3, evict_after_s=60)
    sessions = create(engine, 3)
    clock.now += 30
    generate(engine, "a", 3, session_id=sessions[0].id)
    clock.now += 30

    sessions += create(engine, 1)

    assert fates(engine, sessions) == [None, SessionEvicted, None, None]
    assert engine.lanes["alphabet"].sessions == len(engine.registry) == 3


def test_nobody_makes_room_who_was_not_idle_for_long_enough(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_sessions=2, evict_after_s=60)
    sessions = create(engine, 2)
    clock.now += 59.9

    with pytest.raises(SlotsExhausted):
        create(engine, 1)

    assert fates(engine, sessions) == [None, None]


def test_many_sessions_of_a_tenant_evict_its_own_before_those_of_others(
    make_engine: Callable[..., Engine], clock: Clock
) -> None:
    engine = make_engine(max_sessions=6, evict_after_s=60)
    quiet = create(engine, 2, owner="bob")
    clock.now += 1000
    busy = create(engine, 4, owner="ada")
    with pytest.raises(SlotsExhausted, match="not enough of yours, or of tenants that have more"):
        create(engine, 1, owner="ada")
    clock.now += 60
    create(engine, 4, owner="ada")

    assert fates(engine, quiet) == [None, None]
    assert fates(engine, busy[:4]) == [SessionEvicted] * 4


def test_a_tenant_with_few_sessions_gets_room_from_the_one_with_most(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_sessions=6, evict_after_s=0)
    few = create(engine, 2, owner="eve")
    most = create(engine, 4, owner="ada")
    mine = create(engine, 3, owner="bob")

    assert fates(engine, few) == [None, None], "they were idle for longer, but are her part"
    assert fates(engine, most) == [SessionEvicted, SessionEvicted, None, None]
    assert fates(engine, mine) == [SessionEvicted, None, None]


def test_a_streaming_session_never_makes_room(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_sessions=2, evict_after_s=0)
    sessions = create(engine, 2)
    streams = [begin(engine, "a", 9, session_id=each.id, reader=Reader(is_eager=False))[0] for each in sessions]
    clock.now += 1e5

    with pytest.raises(SlotsExhausted):
        create(engine, 1)
    engine.close(streams[1])
    sessions += create(engine, 1)

    assert fates(engine, sessions) == [None, SessionEvicted, None]


def test_room_for_several_is_made_whole_or_not_at_all(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_sessions=4, evict_after_s=0)
    sessions = create(engine, 4)
    begin(engine, "a", 9, session_id=sessions[3].id, reader=Reader(is_eager=False))

    with pytest.raises(SlotsExhausted):
        engine.fork_session(sessions[0].id, [None] * 3)
    assert fates(engine, sessions) == [None] * 4

    sessions += engine.fork_session(sessions[0].id, [None] * 2)
    assert fates(engine, sessions) == [None, SessionEvicted, SessionEvicted, None, None, None]


def test_a_fork_does_not_give_up_what_it_copies(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_sessions=2, evict_after_s=0)
    session, other = create(engine, 2)
    text = generate(engine, "hello", 30, session_id=session.id).text
    generate(engine, "a", 3, session_id=other.id)  # so the other was used last

    (copy,) = engine.fork_session(session.id, [None])

    assert fates(engine, [session, other]) == [None, SessionEvicted]
    whole = generate(engine, "hello", 50).text
    assert text + generate(engine, "", 20, session_id=copy.id).text == whole


def test_a_fork_does_not_let_expire_what_it_copies(
    make_engine: Callable[..., Engine], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    (session,) = create(engine, 1, ttl_s=10)
    text = generate(engine, "hello", 30, session_id=session.id).text
    find = engine.registry.find

    def find_slowly(session_id: str, *, owner: str = "") -> Session:
        found = find(session_id, owner=owner)
        clock.now += 10
        return found

    monkeypatch.setattr(engine.registry, "find", find_slowly)
    (copy,) = engine.fork_session(session.id, [None])
    monkeypatch.undo()

    assert text + generate(engine, "", 20, session_id=copy.id).text == generate(engine, "hello", 50).text
    assert fates(engine, [session]) == [None]


def test_bytes_are_limited_too(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(session_memory_mib=1, evict_after_s=60, slots=1, max_streams=1)
    lane = engine.lanes["alphabet"]
    sessions = create(engine, 3)
    for session in sessions[:2]:  # as if a state were half a mebibyte
        lane.residency.put(session, bytes(2**19))
    assert lane.residency.state_bytes == 2**20

    with pytest.raises(SlotsExhausted, match="1 MiB of states and histories of 1"):
        create(engine, 1)
    clock.now += 60
    sessions += create(engine, 1)

    assert fates(engine, sessions) == [SessionEvicted, None, None, None]
    assert lane.residency.state_bytes == 2**19


def test_few_large_sessions_make_room_before_many_small_ones(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(session_memory_mib=1, evict_after_s=0, slots=1, max_streams=1)
    lane = engine.lanes["alphabet"]
    small, large = create(engine, 9, owner="ada"), create(engine, 2, owner="bob")
    for session in large:
        lane.residency.put(session, bytes(2**19))
        engine.registry.use(session)

    small += create(engine, 1, owner="ada")

    assert fates(engine, small) == [None] * 10
    assert fates(engine, large) == [SessionEvicted, None]


def test_a_history_is_counted_while_it_grows(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_steps=64, credit=10_000)
    (session,) = create(engine, 1)
    stream, _ = begin(engine, "a", 5000, session_id=session.id)
    while session.history.end < 4500:
        assert run_slice(engine)
        assert session.history.kept_bytes - session.counted_bytes < 2 * (1024 + 64)
    assert engine.lanes["alphabet"].residency.state_bytes == session.counted_bytes > 2 * 3000
    engine.close(stream)


def test_expired_evicted_deleted_and_unknown_are_told_apart(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_sessions=3, evict_after_s=0)
    events: list[object] = []
    engine.registry.on_expired = events.append
    engine.registry.on_evicted = lambda: events.append("evicted")
    deleted, expired = (*create(engine, 1), *create(engine, 1, ttl_s=5))
    engine.delete_session(deleted.id)
    clock.now += 5
    evicted = create(engine, 3)[0]
    create(engine, 1)

    assert fates(engine, [deleted, expired, evicted]) == [SessionNotFound, SessionExpired, SessionEvicted]
    with pytest.raises(SessionNotFound):
        engine.session("nobody")
    assert events == [1, "evicted"]


def test_no_use_keeps_a_session_longer_than_its_age(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_session_age_s=100)
    (session,) = create(engine, 1, ttl_s=40)
    for _ in range(3):
        clock.now += 30
        generate(engine, "a", 3, session_id=session.id)
    assert engine.registry.describe(session).seconds_left == 10
    clock.now += 10

    assert fates(engine, [session]) == [SessionExpired]


def test_a_stream_over_the_age_of_its_session_is_its_last(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine(max_session_age_s=100)
    (session,) = create(engine, 1, ttl_s=80)
    stream, reader = begin(engine, "a", 50, session_id=session.id, reader=Reader(is_eager=False))
    for _ in range(3):
        clock.now += 50
        run_slice(engine)
        assert engine.registry.expire() == 0

    run(engine)
    reader.read()
    engine.close(stream)

    assert len(reader.text) == 50
    assert fates(engine, [session]) == [SessionExpired]
    assert len(engine.registry) == 0


def test_the_next_expiry_is_known(make_engine: Callable[..., Engine], clock: Clock) -> None:
    engine = make_engine()
    assert engine.registry.seconds_to_expiry() is None
    create(engine, 1, ttl_s=50)
    create(engine, 1, ttl_s=20)
    clock.now += 5

    assert engine.registry.seconds_to_expiry() == 15
    clock.now += 15
    assert engine.registry.expire() == 1
    assert engine.registry.seconds_to_expiry() == 30


def test_what_is_put_in_under_its_id_replaces_what_is_there(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_sessions=2, evict_after_s=60)
    session, other = create(engine, 2)
    text = generate(engine, "hello", 20, session_id=session.id).text
    content = engine.take_out_session(session.id)
    rest = generate(engine, "", 20, session_id=session.id).text

    again = engine.registry.put_in(content, session_id=session.id)

    assert again.id == session.id
    assert again.position == 5 + len(text)
    assert generate(engine, "", 20, session_id=session.id).text == rest
    assert fates(engine, [again, other]) == [None, None]
    assert engine.lanes["alphabet"].sessions == 2


def test_what_a_stream_runs_on_is_not_replaced(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    (session,) = create(engine, 1)
    content = engine.take_out_session(session.id)
    begin(engine, "a", 9, session_id=session.id, reader=Reader(is_eager=False))

    with pytest.raises(SessionBusy):
        engine.registry.put_in(content, session_id=session.id)

    assert fates(engine, [session]) == [None]


def test_what_is_put_in_is_kept_no_longer_than_allowed(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(max_session_ttl_s=30)
    (session,) = create(engine, 1, ttl_s=500)
    content = engine.take_out_session(session.id)

    assert engine.registry.put_in(content).ttl_s == 30
    assert engine.registry.put_in(content, ttl_s=20).ttl_s == 20


def test_many_short_calls_leave_no_more_than_there_is_to_rewind(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(rewind_tokens=16)
    (session,) = create(engine, 1)
    for _ in range(40):
        generate(engine, "abcd", 1, session_id=session.id)  # in one slice

        kept = session.position - session.history.start
        assert kept <= 2 * 16 + 5
        assert session.history.start == 0 or kept >= 16
    assert np.array(session.history.counts(session.position)).sum() == 200


def test_a_defect_in_a_slice_leaves_sessions_as_they_were_told(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_steps=3)
    sessions = create(engine, 2)
    talks = [begin(engine, "hello", 50, session_id=each.id, reader=Reader(is_eager=False)) for each in sessions]
    for _ in range(5):
        run_slice(engine)

    def take(*_: object) -> None:
        for _stream, reader in talks:
            reader.read()  # as its own thread may at any time
        raise RuntimeError("defect")

    with monkeypatch.context() as patch, pytest.raises(Exception, match="alphabet"):
        patch.setattr(type(talks[0][0]), "take", take)
        run_slice(engine)
    engine.fail(RuntimeError("defect"))
    for stream, _ in talks:
        engine.close(stream)

    whole = generate(engine, "hello", 50).text
    for session, (_, reader) in zip(sessions, talks, strict=True):
        assert 0 < len(reader.text) < 30
        assert session.position == 5 + len(reader.text)
        assert reader.text + generate(engine, "", 20, session_id=session.id).text == whole[: len(reader.text) + 20]

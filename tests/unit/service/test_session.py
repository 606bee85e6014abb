import pytest

from unrolled_service.errors import SessionEvicted, SessionExpired, SessionNotFound
from unrolled_service.sessions.history import Format, History
from unrolled_service.sessions.session import Session, SessionTable, make_session_id


def make_session(number: int, expires: float, owner: str = "") -> Session:
    return Session(
        id=f"s{number}",
        serial=number,
        model="m",
        seed=0,
        history=History(Format(26), 100),
        ttl_s=10.0,
        created=0.0,
        ends=1e12,
        expires=expires,
        owner=owner,
    )


def test_ids_are_long_distinct_and_marked() -> None:
    ids = {make_session_id("7") for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(each) for each in ids} == {23}
    assert {each[-1] for each in ids} == {"7"}


def test_an_expired_session_is_told_from_an_unknown_one() -> None:
    table = SessionTable()
    session, other = make_session(1, 5.0), make_session(2, 50.0)
    table.add(session)
    table.add(other)

    assert table.next_deadline() == 5.0
    assert table.expire(4.9) == []
    assert table.expire(5.0) == [session]
    with pytest.raises(SessionExpired):
        table.find("s1")
    with pytest.raises(SessionNotFound):
        table.find("s3")
    assert table.find("s2") is other


def test_to_anybody_but_its_owner_a_session_never_was() -> None:
    table = SessionTable()
    session, other = make_session(1, 5.0, "ada"), make_session(2, 50.0, "ada")
    table.add(session)
    table.add(other)
    table.expire(5.0)
    table.remove(other, SessionEvicted)

    for session_id, why in (("s1", SessionExpired), ("s2", SessionEvicted)):
        with pytest.raises(why):
            table.find(session_id, "ada")
        for owner in ("", "bob"):
            with pytest.raises(SessionNotFound):
                table.find(session_id, owner)


def test_a_deleted_session_is_unknown() -> None:
    table = SessionTable()
    session = make_session(1, 5.0)
    table.add(session)
    table.remove(session)

    assert table.expire(100.0) == []
    with pytest.raises(SessionNotFound):
        table.find("s1")


def test_use_postpones_expiry() -> None:
    table = SessionTable()
    session = make_session(1, 5.0)
    table.add(session)
    session.expires = 9.0

    assert table.expire(5.0) == []
    assert table.next_deadline() == 9.0
    assert table.expire(9.0) == [session]


def test_sessions_that_come_and_go_leave_nothing_behind() -> None:
    table = SessionTable()
    kept = make_session(-1, 1e9)
    table.add(kept)
    for number in range(10_000):
        session = make_session(number, 1e6)
        table.add(session)
        table.remove(session)

    assert len(table._deadlines) < 3000
    assert table.expire(2e9) == [kept]

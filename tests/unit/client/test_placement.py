from collections import Counter
from datetime import UTC, datetime

import grpc

from unrolled_client.errors import Draining, SessionBusy, StoreUnavailable, Unreachable
from unrolled_client.placement import MAX_BOUND, PROBE_INTERVAL_S, Placement
from unrolled_client.values import SessionInfo

TARGETS = ("a:1", "b:2", "c:3")
KEYS = [f"session-{i}" for i in range(3000)]
DRAINING = Draining("no", code=grpc.StatusCode.UNAVAILABLE)
UNREACHABLE = Unreachable("no", code=grpc.StatusCode.UNAVAILABLE)
AWAY = StoreUnavailable("no", code=grpc.StatusCode.UNAVAILABLE)
BUSY = SessionBusy("no", code=grpc.StatusCode.ABORTED)


class Call:
    """Stands for a gRPC call."""


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def info(session_id: str, *, is_stored: bool) -> SessionInfo:
    now = datetime.now(UTC)
    return SessionInfo(session_id, "m", 0, 0, False, now, now, 0, "resident", is_stored)


def lose(placement: Placement, server: int) -> None:
    call = Call()
    placement.note_call(call, server)
    placement.note_error(call, UNREACHABLE)


def test_sessions_are_spread_and_every_client_finds_them_in_the_same_place() -> None:
    homes = [Placement(TARGETS).choose(key) for key in KEYS]

    assert all(900 < number < 1100 for number in Counter(homes).values())
    turned = Placement(TARGETS[::-1])
    assert [2 - turned.choose(key) for key in KEYS] == homes


def test_a_server_that_is_lost_moves_its_own_sessions_alone_and_has_them_again_when_it_serves() -> None:
    placement = Placement(TARGETS)
    homes = {key: placement.choose(key) for key in KEYS}

    lose(placement, 1)

    moved = {key: placement.choose(key) for key in KEYS}
    assert {key for key in KEYS if moved[key] != homes[key]} == {key for key in KEYS if homes[key] == 1}
    assert {*Counter(moved[key] for key in KEYS if homes[key] == 1)} == {0, 2}
    assert {placement.choose(None) for _ in KEYS} == {0, 2}
    assert placement.begin_probes() == [1]
    placement.end_probe(1, is_serving=True)
    assert {key: placement.choose(key) for key in KEYS} == homes


def test_calls_without_a_session_take_turns() -> None:
    placement = Placement(TARGETS)
    assert Counter(placement.choose(None) for _ in range(30)) == {0: 10, 1: 10, 2: 10}


def test_a_server_set_aside_is_asked_for_its_health_from_time_to_time() -> None:
    clock = Clock()
    placement = Placement(TARGETS, clock=clock)
    assert placement.begin_probes() == []
    lose(placement, 2)
    assert placement.begin_probes() == [2]
    assert placement.begin_probes() == []
    clock.now_s += 100
    assert placement.begin_probes() == []  # the first one has not been answered
    placement.end_probe(2, is_serving=False)
    assert placement.begin_probes() == []
    clock.now_s += PROBE_INTERVAL_S
    assert placement.begin_probes() == [2]


def test_where_all_are_lost_attempts_go_round() -> None:
    clock = Clock()
    placement = Placement(TARGETS, clock=clock)
    tried = []
    for _ in range(6):
        clock.now_s += 1
        tried.append(placement.choose("key"))
        lose(placement, tried[-1])
    assert {*tried[:3]} == {0, 1, 2}
    assert tried[3:] == tried[:3]


def test_a_lost_server_need_not_be_waited_for_where_there_is_another() -> None:
    placement = Placement(TARGETS)
    for error in (UNREACHABLE, DRAINING):
        assert placement.can_move("key", error)
    assert not any(placement.can_move("key", error) for error in (AWAY, BUSY))
    for server in range(3):
        lose(placement, server)
    assert not placement.can_move("key", UNREACHABLE)
    assert not Placement(["a:1"]).can_move("key", UNREACHABLE)


def test_what_a_server_decides_does_not_set_it_aside() -> None:
    placement, call = Placement(TARGETS), Call()
    for error in (AWAY, BUSY):
        placement.note_call(call, 0)
        placement.note_error(call, error)
    assert Counter(placement.choose(None) for _ in range(30)) == {0: 10, 1: 10, 2: 10}


def test_a_session_that_is_nowhere_else_is_called_where_it_was_made() -> None:
    placement, call = Placement(TARGETS), Call()
    home = placement.choose("key")
    maker = (home + 1) % 3
    placement.note_call(call, maker)
    placement.note_sessions(call, [info("key", is_stored=False)])

    lose(placement, maker)

    assert placement.choose("key") == maker
    assert not placement.can_move("key", UNREACHABLE)
    placement.note_call(call, maker)
    placement.note_sessions(call, [info("key", is_stored=True)])
    assert placement.choose("key") == home


def test_no_more_sessions_are_remembered_than_there_is_room_for() -> None:
    placement, call = Placement(TARGETS), Call()
    home = placement.choose("first")
    placement.note_call(call, (home + 1) % 3)
    names = ["first", *(str(i) for i in range(MAX_BOUND))]
    placement.note_sessions(call, [info(name, is_stored=False) for name in names])
    assert placement.choose("first") == home
    assert {placement.choose(name) for name in names[1:]} == {(home + 1) % 3}

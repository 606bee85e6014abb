"""States come and go between the arena and packed memory, and every byte of them is counted."""

import numpy as np
import pytest

from unrolled_service.sessions.history import Checkpoint, Format, History
from unrolled_service.sessions.residency import Residency
from unrolled_service.sessions.session import Session, Tier

INITIAL = np.array([0.5, -1.0, 2.0], np.float32)
STATE_BYTES = INITIAL.nbytes
COUNTS_BYTES = 2 * 26 * 4
SLOTS = 2


def make_session(number: int = 0) -> Session:
    return Session(
        id=f"s{number}",
        serial=number,
        model="m",
        seed=0,
        history=History(Format(26), 16),
        ttl_s=10.0,
        created=0.0,
        ends=1e12,
        expires=1e12,
    )


def state(number: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(3, number, np.float32)


def use(residency: Residency, session: Session, number: float) -> None:
    """Bring a session in, let it take a token, and let it rest."""
    residency.bring_in(session)
    residency.write([session], state(number)[None])
    session.history.extend([1, 2])
    session.consumed += 1
    residency.rest(session)


@pytest.fixture
def residency() -> Residency:
    return Residency(INITIAL, SLOTS)


def test_a_new_session_has_the_initial_state_and_costs_nothing(residency: Residency) -> None:
    session = make_session()
    residency.put(session, None)

    assert (residency.state_of(session) == INITIAL).all()
    assert residency.tier_of(session) is Tier.PACKED
    assert residency.state_bytes == session.counted_bytes == 0


def test_a_session_that_is_used_gets_its_own_slot_with_its_own_state(residency: Residency) -> None:
    sessions = [make_session(i) for i in range(SLOTS)]
    for i, session in enumerate(sessions):
        residency.put(session, state(i + 1).tobytes())
        session.consumed = 1
    for session in sessions:
        residency.bring_in(session)

    assert len({session.slot for session in sessions}) == SLOTS
    assert [residency.state_of(session)[0] for session in sessions] == [1, 2]
    assert residency.state_bytes == SLOTS * STATE_BYTES == sum(session.counted_bytes for session in sessions)


def test_the_session_that_rested_longest_makes_room(residency: Residency) -> None:
    first, second, third = (make_session(i) for i in range(3))
    for i, session in enumerate((first, second)):
        residency.put(session, None)
        use(residency, session, i + 1)
    use(residency, first, 10)
    residency.put(third, None)

    residency.bring_in(third)

    assert [residency.tier_of(each) for each in (first, second, third)] == [Tier.RESIDENT, Tier.PACKED, Tier.RESIDENT]
    assert (residency.state_of(second) == state(2)).all()
    assert (residency.state_of(third) == INITIAL).all()
    assert second.counted_bytes == STATE_BYTES + 2 * 2


def test_a_session_in_use_is_not_packed(residency: Residency) -> None:
    busy, idle, new = (make_session(i) for i in range(3))
    for session in (busy, idle, new):
        residency.put(session, None)
    residency.bring_in(busy)
    use(residency, idle, 1)

    residency.bring_in(new)

    assert busy.slot is not None
    assert idle.slot is None


def test_packing_and_bringing_in_is_exact_and_leaves_a_wiped_slot(residency: Residency) -> None:
    session = make_session()
    residency.put(session, None)
    odd = np.array([-0.0, 1e-42, np.pi], np.float32)
    use(residency, session, 1)
    residency.write([session], odd[None])
    slot = session.slot
    assert slot is not None

    residency.pack(session)

    assert not residency.arena.read(slot).any()
    assert session.packed == odd.tobytes()
    residency.bring_in(session)
    assert residency.state_of(session).tobytes() == odd.tobytes()
    assert residency.state_bytes == STATE_BYTES + 2 * 2


def test_a_session_that_took_nothing_packs_to_nothing(residency: Residency) -> None:
    session = make_session()
    residency.put(session, None)
    residency.bring_in(session)
    residency.rest(session)

    residency.pack(session)
    residency.pack(session)

    assert session.packed is None
    assert residency.state_bytes == 0
    assert residency.arena.slots_in_use == 0


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_rewind_takes_the_newest_state_before_the_position(residency: Residency, is_packed: bool) -> None:
    session = make_session()
    residency.put(session, None)
    residency.bring_in(session)
    session.history.extend(range(20))
    for position in (5, 10, 15):
        residency.keep(session, Checkpoint(position, state(position).tobytes()))
    residency.write([session], state(18)[None])
    session.consumed = 18
    residency.rest(session)
    if is_packed:
        residency.pack(session)
    assert residency.state_bytes == session.counted_bytes == 3 * STATE_BYTES + 10 * 2 + COUNTS_BYTES

    for position, consumed, kept in ((19, 18, 2), (18, 15, 2), (16, 15, 2), (15, 10, 1), (11, 10, 1)):
        residency.rewind(session, position)
        assert (session.consumed, session.position) == (consumed, position)
        assert (residency.state_of(session) == state(consumed)).all()
        inputs = position - session.history.anchor.position
        assert residency.state_bytes == (1 + kept) * STATE_BYTES + inputs * 2 + COUNTS_BYTES


def test_a_session_rewound_to_the_beginning_has_the_initial_state(residency: Residency) -> None:
    session = make_session()
    residency.put(session, None)
    use(residency, session, 1)

    residency.rewind(session, 0)

    assert session.consumed == session.position == 0
    assert (residency.state_of(session) == INITIAL).all()


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_released_session_leaves_no_bytes(residency: Residency, is_packed: bool) -> None:
    session = make_session()
    residency.put(session, None)
    use(residency, session, 1)
    residency.keep(session, Checkpoint(1, state(1).tobytes()))
    if is_packed:
        residency.pack(session)

    residency.release(session)

    assert residency.state_bytes == 0
    assert residency.arena.slots_in_use == 0
    for number in range(SLOTS):  # nobody that is gone is asked to make room
        residency.bring_in(make_session(number))

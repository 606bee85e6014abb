"""Who has a place: shares of tenants, turns, priorities, by plain numbers and for any crowd."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.loop import Reader
from unrolled_service.lanes.places import Places
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.row import Row
from unrolled_service.rows.stream import Stream
from unrolled_service.tenants.budget import Budget
from unrolled_service.tenants.terms import Terms

TURN_S, AGEING_S = 2.0, 10.0


def make_places(number: int, worth: int | None = None) -> Places:
    return Places(number, TURN_S, AGEING_S, worth=number if worth is None else worth)


def make_row(tenant: str = "", *, steps: int = 1000, **terms: Any) -> Row:
    generation = Generation(np.zeros(1, np.int64), steps)
    row = Stream(generation, generation.prompt, Reader(), lane="", vocabulary_size=26, session=None, seed=0, arrived=0)
    row.terms = Terms(tenant, **terms)
    return row


def queue(places: Places, count: int, tenant: str = "", *, since: float = 0.0, **terms: Any) -> list[Row]:
    rows = [make_row(tenant, **terms) for _ in range(count)]
    for row in rows:
        places.wait(row, since)
    return rows


def turn(places: Places, now: float) -> tuple[list[Row], list[Row]]:
    """Let a slice begin; return who left its place and who got one."""
    return places.make_way(now), places.fill(now)


def shares(places: Places) -> Counter[str]:
    return Counter(row.terms.tenant for row in places)


def test_a_row_keeps_its_place_where_nobody_waits() -> None:
    places = make_places(2)
    rows = queue(places, 2)

    assert turn(places, 0.0) == ([], rows)
    assert turn(places, 100 * TURN_S) == ([], [])


def test_a_turn_ends_for_the_sake_of_those_who_wait() -> None:
    places = make_places(2)
    first, second, third = queue(places, 3)

    assert turn(places, 0.0) == ([], [first, second])
    assert turn(places, 0.9 * TURN_S) == ([], [])
    assert turn(places, TURN_S) == ([first], [third])
    assert turn(places, TURN_S + 0.1) == ([second], [first])  # its turn was over as well
    assert turn(places, TURN_S + 0.2) == ([], [])  # the third and the first are in the middle of theirs
    assert turn(places, 2 * TURN_S) == ([third], [second])


def test_those_that_would_end_together_begin_one_eighth_after_another() -> None:
    places = make_places(256)
    rows = queue(places, 64)

    assert [places.fill(0.0, 20) for _ in range(8)] == [rows[i : i + 8] for i in range(0, 64, 8)]


def test_as_many_begin_together_as_end_in_a_slice_and_a_quarter_more() -> None:
    places = make_places(256)
    rows = [make_row(steps=40) for _ in range(64)]
    for row in rows:
        places.wait(row, 0.0)

    assert places.fill(0.0, 10) == rows[:20]


def test_rows_of_one_slice_begin_all_together_also_behind_long_ones_of_another_tenant() -> None:
    places = make_places(256)
    queue(places, 32, "long")
    short = [make_row("short", steps=20) for _ in range(32)]
    for row in short:
        places.wait(row, 0.0)

    began = places.fill(0.0, 20)

    assert {*short} < {*began}
    assert len(began) < 64


def test_four_may_always_begin_together() -> None:
    places = make_places(256)
    rows = queue(places, 6)

    assert places.fill(0.0, 20) == rows[:4]
    assert places.fill(0.0, 20) == rows[4:]


def test_where_rows_are_more_than_places_no_more_begin_together_than_end_and_a_quarter() -> None:
    places = make_places(160)
    rows = queue(places, 400)

    assert [places.fill(0.0, 50) for _ in range(17)] == [*(rows[i : i + 10] for i in range(0, 160, 10)), []]


def test_who_takes_a_place_that_was_made_is_not_held_back() -> None:
    places = make_places(64)
    first = queue(places, 64)
    places.fill(0.0)
    second = queue(places, 64)

    assert places.make_way(TURN_S) == first
    assert places.fill(TURN_S, 20) == second


def test_300_endless_rows_have_256_places_in_turns() -> None:
    places = make_places(256)
    rows = queue(places, 300)
    served: Counter[Row] = Counter()
    for slice_ in range(600):
        turn(places, slice_ * 0.1)
        served.update(list(places))

    assert len(places) == 256
    assert min(served[row] for row in rows) > 0.7 * max(served.values())


def test_who_left_in_the_middle_of_its_turn_comes_back_first() -> None:
    places = make_places(1)
    rows = queue(places, 3)
    turn(places, 0.0)
    places.leave(rows[0])
    places.come_back(rows[0], 1.0)

    assert places.fill(1.0) == [rows[0]]
    places.leave(rows[0])
    places.come_back(rows[0], TURN_S)  # its turn was over meanwhile
    assert places.fill(TURN_S) == [rows[1]]


def test_tenants_share_the_places_evenly() -> None:
    places = make_places(8)
    queue(places, 100, "greedy")
    turn(places, 0.0)
    assert shares(places) == {"greedy": 8}

    queue(places, 3, "modest")
    turn(places, 0.1)
    assert shares(places) == {"greedy": 5, "modest": 3}
    queue(places, 100, "other")
    turn(places, 0.2)
    assert shares(places) == {"greedy": 3, "modest": 3, "other": 2}


def test_weights_are_proportions() -> None:
    places = make_places(12)
    queue(places, 100, "heavy", weight=3.0)
    queue(places, 100, "light")
    turn(places, 0.0)

    assert shares(places) == {"heavy": 9, "light": 3}


def test_a_share_is_taken_from_batch_rows_first_and_comes_back_exactly_once() -> None:
    places = make_places(4)
    batch = queue(places, 2, "greedy", is_batch=True)
    queue(places, 2, "greedy")
    turn(places, 0.0)
    mine = queue(places, 2, "modest")

    left, joined = turn(places, 0.1)
    assert {*left} == {*batch}
    assert {*joined} == {*mine}
    assert turn(places, 0.2) == ([], [])
    places.leave(mine[0])
    assert turn(places, 0.3) == ([], [batch[0]])


def test_where_tenants_compete_no_more_places_are_used_than_are_worth_it() -> None:
    places = make_places(64, worth=16)
    queue(places, 1000, "greedy")
    turn(places, 0.0)
    assert shares(places) == {"greedy": 64}

    (mine,) = queue(places, 1, "modest")
    turn(places, 0.1)
    assert shares(places) == {"greedy": 15, "modest": 1}
    places.leave(mine)
    turn(places, 0.2)
    assert shares(places) == {"greedy": 16}  # it may come again
    turn(places, 0.2 + TURN_S)
    assert shares(places) == {"greedy": 64}
    queue(places, 20, "modest")
    turn(places, 3.0)
    assert shares(places) == {"greedy": 20, "modest": 20}
    queue(places, 100, "modest")
    turn(places, 3.1)
    assert shares(places) == {"greedy": 32, "modest": 32}


def test_where_everybody_has_a_place_all_are_used() -> None:
    places = make_places(64, worth=2)
    queue(places, 40, "greedy")
    queue(places, 24, "modest")
    turn(places, 0.0)
    assert len(places) == 64
    assert turn(places, 10 * TURN_S) == ([], [])


def test_more_tenants_than_places_have_turns_too() -> None:
    places = make_places(2)
    for tenant in "abcde":
        queue(places, 2, tenant)
    served: Counter[str] = Counter()
    for slice_ in range(500):
        turn(places, slice_ * 0.1)
        served.update(shares(places))

    assert sum(served.values()) == 1000
    assert min(served.values()) > 0.7 * max(served.values())


def test_interactive_rows_go_first_and_take_the_places_of_batch() -> None:
    places = make_places(2)
    batch = queue(places, 3, is_batch=True)
    assert turn(places, 0.0) == ([], batch[:2])
    mine = queue(places, 1, since=0.5)

    assert turn(places, 0.5) == ([batch[0]], mine)
    assert places.line.first("") is batch[0]  # before the one that never ran


def test_batch_that_has_waited_long_enough_keeps_its_place_for_a_turn() -> None:
    places = make_places(1)
    (batch,) = queue(places, 1, is_batch=True)
    (early,) = queue(places, 1, since=1.0)
    (late,) = queue(places, 1, since=AGEING_S + 1)

    assert turn(places, 1.0) == ([], [early])
    assert turn(places, AGEING_S + 1) == ([early], [batch])
    assert turn(places, AGEING_S + 1 + TURN_S / 2) == ([], [])
    assert turn(places, AGEING_S + 1 + TURN_S) == ([batch], [late])


def test_batch_does_not_starve_among_endless_newcomers() -> None:
    places = make_places(2)
    (batch,) = queue(places, 1, is_batch=True)
    ran_at = []
    for slice_ in range(1000):
        now = slice_ * 0.1
        queue(places, 1, since=now)
        turn(places, now)
        for row in list(places):
            if row is batch:
                ran_at.append(now)
            elif row.turn_ends - TURN_S <= now - 0.2:  # newcomers are short
                places.leave(row)

    assert ran_at
    assert ran_at[0] <= AGEING_S + TURN_S


def test_a_tenant_without_budget_is_passed_over() -> None:
    places = make_places(2)
    budget = Budget(10.0, 10.0)
    budget.spend(20, 0.0)
    rows = queue(places, 3, "spent", budget=budget)
    other = queue(places, 1, "other")

    assert turn(places, 0.0) == ([], other)
    assert turn(places, 1.1) == ([], rows[:1])


arrivals = st.lists(
    st.tuples(
        st.integers(0, 40),  # slice of arrival
        st.sampled_from("abc"),
        st.booleans(),
        st.integers(1, 30),  # slices of work
    ),
    max_size=40,
)


@pytest.mark.parametrize("number", [1, 3])
@settings(max_examples=100, deadline=None)
@given(arrivals)
def test_no_place_is_idle_and_no_row_starves(number: int, crowd: list[tuple[int, str, bool, int]]) -> None:
    """Work is conserved: while rows wait every place is taken, so all of it ends as soon as it can."""
    places, slice_s = make_places(number), 0.5
    by_slice = defaultdict(list)
    for arrival, tenant, is_batch, work in crowd:
        by_slice[arrival].append((make_row(tenant, is_batch=is_batch), work))
    left: dict[Row, int] = {}
    unfinished = sum(work for *_, work in crowd)
    for i in range(41 + unfinished):
        now = i * slice_s
        for row, work in by_slice[i]:
            left[row] = work
            places.wait(row, now)
        turn(places, now)
        running = list(places)
        assert len(running) == min(number, len(left))
        assert {*running, *places.line} == {*left}
        assert places.line.steps == sum(row.steps_left for row in places.line)
        for row in running:
            left[row] -= 1
            if not left[row]:
                del left[row]
                places.leave(row)
    assert not left

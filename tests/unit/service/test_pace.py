"""How long slices take: what is known before the first one, and what is learned from those that were."""

from collections import Counter

import pytest

from unrolled_service.lanes.pace import Pace, try_out


class Machine:
    """Runs steps that take as long as it is told, on a clock of its own."""

    def __init__(self, **steps_s: float) -> None:
        self.now = 0.0
        self.runs: Counter[int] = Counter()
        self.slowness = 1.0
        self._steps_s = {int(rows[1:]): step_s for rows, step_s in steps_s.items()}

    def run(self, rows: int, steps: int) -> None:
        self.runs[rows] += 1
        self.now += self._steps_s[rows] * steps * self.slowness


def learn(known: Pace, rows: int, step_s: float, overhead_s: float) -> None:
    known.learn(rows, 10, {"gather": overhead_s / 2, "run": 10 * step_s, "settle": overhead_s / 2})


def test_every_number_of_rows_is_tried_in_turn_and_the_quickest_trial_counts() -> None:
    machine = Machine(r1=0.0001, r2=0.0001, r4=0.0001)

    def run(rows: int, steps: int) -> None:
        machine.slowness = 9.0 if machine.runs[rows] == 1 else 1.0  # the second time each of them is disturbed
        machine.run(rows, steps)

    known = try_out(run, 7, lambda: machine.now)

    assert machine.runs == {1: 8, 2: 8, 4: 8}
    assert [known.step_s(rows) for rows in (1, 2, 3, 4, 7)] == pytest.approx([0.0001] * 5)


def test_trials_of_a_slow_cell_are_few() -> None:
    machine = Machine(r1=0.5, r2=0.5)
    try_out(machine.run, 2, lambda: machine.now)

    assert machine.runs == {1: 2, 2: 2}


def test_a_machine_whose_clock_saw_nothing_divides_by_nothing() -> None:
    machine = Machine(r1=0.0)
    known = try_out(machine.run, 1, lambda: machine.now)

    assert 0 < known.step_s(1) < 1e-6


def test_more_rows_are_worth_it_as_long_as_they_bring_more() -> None:
    assert Pace(256, {}).worth == 256  # for all that is known
    assert Pace(256, {1: 0.001, 256: 0.256}).worth == 1
    assert Pace(256, {1: 0.001, 64: 0.004, 256: 0.016}).worth == 64
    assert Pace(256, {1: 0.001, 64: 0.0051, 256: 0.016}).worth == 256
    assert Pace(256, {1: 0.001, 64: 0.001, 256: 0.001}).worth == 256


def test_what_is_worth_it_does_not_depend_on_how_quick_the_machine_was_when_it_was_seen() -> None:
    known = Pace(256, {1: 0.001, 64: 0.004, 256: 0.016})
    for _ in range(100):
        learn(known, 64, 0.008, overhead_s=0.0)

    assert known.worth == 64
    assert known.step_s(64) == pytest.approx(0.008)


def test_a_size_stands_for_those_up_to_its_double() -> None:
    known = Pace(16, {1: 0.001, 2: 0.002, 4: 0.004, 8: 0.008, 16: 0.016})

    assert [known.step_s(rows) for rows in (1, 2, 3, 4, 7, 8, 16)] == [0.001, 0.002, 0.002, 0.004, 0.004, 0.008, 0.016]
    assert known.overhead_s(7) == 0.0
    learn(known, 7, 0.004, overhead_s=0.0003)
    assert known.overhead_s(4) == pytest.approx(0.0003)

from unrolled_service.storage.gate import Gate


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_new_gate_is_open() -> None:
    gate = Gate()
    assert gate.is_open
    assert [gate.admit() for _ in range(3)] == [0, 0, 0]


def test_a_failure_shuts_it_for_everybody() -> None:
    gate = Gate(shortest_s=1, clock=Clock())
    assert gate.shut() == 1
    assert not gate.is_open
    assert [gate.admit(), gate.admit()] == [1, 1]


def test_after_the_pause_one_may_try_and_the_others_stay_away_for_longer() -> None:
    clock = Clock()
    gate = Gate(shortest_s=1, clock=clock)
    gate.shut()
    clock.now_s += 1
    assert [gate.admit(), gate.admit(), gate.admit()] == [0, 2, 2]
    assert not gate.is_open


def test_pauses_double_up_to_the_longest() -> None:
    clock = Clock()
    gate = Gate(shortest_s=1, longest_s=5, clock=clock)
    pauses = [gate.shut()]
    for _ in range(4):
        clock.now_s += pauses[-1]
        assert gate.admit() == 0
        pauses.append(gate.shut())
    assert pauses == [1, 2, 4, 5, 5]


def test_of_many_that_fail_together_one_counts() -> None:
    gate = Gate(shortest_s=1, clock=Clock())
    assert {gate.shut() for _ in range(100)} == {1}


def test_an_answer_opens_it_and_the_pauses_begin_anew() -> None:
    clock = Clock()
    gate = Gate(shortest_s=1, clock=clock)
    gate.shut()
    clock.now_s += 1
    gate.admit()
    gate.open()
    assert gate.is_open
    assert gate.admit() == 0
    assert gate.shut() == 1


def test_a_gate_that_stays_shut_for_days_still_lets_probes_through() -> None:
    clock = Clock()
    gate = Gate(shortest_s=0.25, longest_s=5, clock=clock)
    gate.shut()
    for _ in range(5000):
        clock.now_s += 5
        assert gate.admit() == 0

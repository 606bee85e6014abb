from itertools import pairwise

import pytest

from chaos.faults import KINDS, draw_faults

RUNS = [(0, 8.0, 3), (1, 90.0, 3), (2, 600.0, 5), (2**64 - 1, 30.0, 1)]


@pytest.mark.parametrize(("seed", "seconds", "replicas"), RUNS)
def test_the_same_seed_draws_the_same_faults_at_the_same_times(seed: int, seconds: float, replicas: int) -> None:
    drawn = draw_faults(seed, seconds, replicas)
    assert drawn == draw_faults(seed, seconds, replicas)
    assert drawn != draw_faults(seed + 1, seconds, replicas)


@pytest.mark.parametrize(("seed", "seconds", "replicas"), RUNS)
def test_every_kind_happens_and_ends_within_the_run(seed: int, seconds: float, replicas: int) -> None:
    drawn = draw_faults(seed, seconds, replicas)
    assert {fault.kind for fault in drawn} == {*KINDS}
    assert all(0 <= fault.begin_s < fault.end_s <= seconds for fault in drawn)


@pytest.mark.parametrize(("seed", "seconds", "replicas"), RUNS)
def test_nothing_is_hit_twice_at_once(seed: int, seconds: float, replicas: int) -> None:
    drawn = draw_faults(seed, seconds, replicas)
    for targets in {fault.targets for fault in drawn}:
        mine = [fault for fault in drawn if fault.targets == targets]
        assert all(before.end_s < after.begin_s for before, after in pairwise(mine))


@pytest.mark.parametrize(("seed", "seconds", "replicas"), RUNS)
def test_the_store_is_let_alone_for_the_first_half(seed: int, seconds: float, replicas: int) -> None:
    drawn = draw_faults(seed, seconds, replicas)
    assert min(fault.begin_s for fault in drawn if fault.targets[-1] == "redis") > 0.4 * seconds

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.alphabet import plain_uniform
from unrolled_export import reference
from unrolled_service.sampling import Sampling, uniform

SEEDS = st.integers(0, 2**64 - 1)
POSITIONS = st.integers(0, 2**40)


@given(st.lists(st.tuples(SEEDS, POSITIONS), min_size=1, max_size=20))
def test_uniform_is_a_function_of_seed_and_position(pairs: list[tuple[int, int]]) -> None:
    seeds, positions = np.array(pairs, dtype=object).T

    drawn = uniform(seeds.astype(np.uint64), positions.astype(np.uint64))

    assert drawn.dtype == np.float32
    assert drawn.tolist() == [plain_uniform(seed, position) for seed, position in pairs]
    assert drawn.tolist() == [float(reference.uniform(seed, position)) for seed, position in pairs]


def test_known_numbers_never_change() -> None:
    seeds, positions = np.array([0, 0, 7, 2**64 - 1], np.uint64), np.array([0, 1, 1, 10**6], np.uint64)

    assert (uniform(seeds, positions) * 2**24).astype(int).tolist() == [
        int(plain_uniform(int(seed), int(position)) * 2**24) for seed, position in zip(seeds, positions, strict=True)
    ]


def test_neighbouring_seeds_and_positions_are_uncorrelated() -> None:
    grid = uniform(np.arange(400, dtype=np.uint64)[:, None], np.arange(400, dtype=np.uint64))

    assert abs(grid.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.01
    assert np.histogram(grid, 16)[0].std() < 3 * np.sqrt(grid.size / 16)


def test_greedy_never_truncates() -> None:
    assert not Sampling(temperature=0, top_k=1, top_p=0.5, min_p=0.5).truncates
    assert not Sampling().truncates
    assert Sampling(min_p=0.1).truncates

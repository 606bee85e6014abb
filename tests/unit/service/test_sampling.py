import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.support.alphabet import plain_uniform
from unrolled_export import reference
from unrolled_service.graphs.draws import draw_constants, draw_uniform
from unrolled_service.graphs.nodes import FLOAT, INT64, Nodes, value
from unrolled_service.graphs.sampling import Sampling

SEEDS = st.integers(0, 2**64 - 1)
POSITIONS = st.integers(0, 2**40)


@pytest.fixture(scope="module")
def draw() -> onnxruntime.InferenceSession:
    """The part of the program that draws, by itself."""
    nodes = Nodes("draw_test")
    draw_uniform(nodes, "steps")
    constants = [*draw_constants(), numpy_helper.from_array(np.array([1], np.int64), "one_axis")]
    inputs = [value("seed", INT64, ["B"]), value("position", INT64, ["B"]), value("steps", INT64, [])]
    graph = helper.make_graph(nodes.nodes, "draw", inputs, [value("uniform", FLOAT, ["K", "B"])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def uniform(
    draw: onnxruntime.InferenceSession, seeds: list[int], positions: list[int], steps: int
) -> NDArray[np.float32]:
    feeds = {
        "seed": np.array(seeds, np.uint64).view(np.int64),
        "position": np.array(positions, np.int64),
        "steps": np.array(steps, np.int64),
    }
    (drawn,) = draw.run(None, feeds)
    return drawn  # type: ignore[no-any-return]


@given(st.lists(st.tuples(SEEDS, POSITIONS), min_size=1, max_size=20), st.integers(1, 5))
def test_uniform_is_a_function_of_seed_and_position(
    draw: onnxruntime.InferenceSession, pairs: list[tuple[int, int]], steps: int
) -> None:
    drawn = uniform(draw, [seed for seed, _ in pairs], [position for _, position in pairs], steps)

    for step in range(steps):
        expected = [plain_uniform(seed, position + step) for seed, position in pairs]
        assert drawn[step].tolist() == expected
        assert expected == [float(reference.uniform(seed, position + step)) for seed, position in pairs]


def test_neighbouring_seeds_and_positions_are_uncorrelated(draw: onnxruntime.InferenceSession) -> None:
    grid = uniform(draw, list(range(400)), [0] * 400, 400)

    assert abs(grid.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.01
    assert np.histogram(grid, 16)[0].std() < 3 * np.sqrt(grid.size / 16)


def test_greedy_never_truncates() -> None:
    assert not Sampling(temperature=0, top_k=1, top_p=0.5, min_p=0.5).truncates
    assert not Sampling().truncates
    assert Sampling(min_p=0.1).truncates

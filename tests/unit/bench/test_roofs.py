import pytest

from bench.cells import Shape
from bench.load import LENGTH, PROMPT_LENGTH
from bench.roofs import Pace, engine_loop, make_engine_loop, make_stock_loop, program_loop
from tests.support.alphabet import write_bundle
from unrolled_service.models.bundle import Bundle, load_bundle

SHORT_S = 0.01


@pytest.fixture(scope="module")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_bundle(tmp_path_factory.mktemp("roofs") / "alphabet"))


def test_a_mean_lies_between() -> None:
    assert Pace(100.0, 2.0).mean(Pace(300.0, 1.0)) == Pace(200.0, 1.5)


def test_a_generation_wants_a_step_for_each_token_but_the_last(alphabet: Bundle) -> None:
    advance, steps = make_engine_loop(alphabet, 1), [0]
    each = PROMPT_LENGTH + LENGTH - 1

    while steps[-1] < 3 * each:
        steps.append(steps[-1] + advance())

    assert {each, 2 * each, 3 * each} <= set(steps)


def test_every_loop_has_a_pace(alphabet: Bundle) -> None:
    paces = [
        make_stock_loop(Shape(1, 16))(2, SHORT_S),
        program_loop(alphabet, 2, SHORT_S),
        engine_loop(alphabet, 2, SHORT_S),
    ]

    assert all(pace.steps_per_s > 0 and pace.cpu_s_per_1000_steps > 0 for pace in paces)

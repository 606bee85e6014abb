"""More rows than places: they take turns, and none of them can tell from what it gets."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.test_engine import make_engine
from tests.integration.test_shapes import activations_of, draw_inputs, values_of
from tests.support.alphabet import greedy_text
from tests.support.loop import Clock, Reader, begin, generate, read_sequence, run_slice
from tests.support.reference import Shapes
from unrolled_service.engine import Engine
from unrolled_service.errors import QueueFull
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.metrics import Metrics
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading
from unrolled_service.tenants.budget import Budget
from unrolled_service.tenants.terms import Terms

SLICE_S = 0.25
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"sampling": Sampling(temperature=0.0)},
    {"sampling": Sampling(frequency_penalty=0.7, presence_penalty=0.3)},
    {"sampling": Sampling(top_k=5, logit_bias=((3, 2.0),)), "logprobs": 2},
    {"stops": ("ab", "xyz")},
    {"max_chunk_tokens": 3},
)


def run_turns(engine: Engine, clock: Clock, *, limit: int = 100_000) -> int:
    """Run slices that take a while each until there is nothing to do; return how many there were."""
    for slices in range(limit):
        clock.now += SLICE_S
        if not run_slice(engine):
            return slices
    raise TimeoutError


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5), st.text("abcdefg", min_size=1, max_size=40), st.integers(1, 200)),
        min_size=2,
        max_size=12,
    ),
    tenants=st.integers(1, 3),
    turn_s=st.sampled_from([0.1, 0.5, 2.0]),
    max_steps=st.sampled_from([1, 7, 64]),
    on_sessions=st.booleans(),
)
def test_a_text_is_the_same_however_often_its_row_makes_way(
    dice: Bundle,
    rows: list[tuple[int, str, int]],
    tenants: int,
    turn_s: float,
    max_steps: int,
    on_sessions: bool,
) -> None:
    alone = make_engine(dice, max_rows=64)
    wanted = [generate(alone, text, count, seed=i, **OPTIONS[kind]) for i, (kind, text, count) in enumerate(rows)]

    clock = Clock()
    engine = make_engine(dice, clock=clock, max_rows=2, max_steps=max_steps, turn_s=turn_s, pause_ms=700)
    begun = []
    for i, (kind, text, count) in enumerate(rows):
        options = dict(OPTIONS[kind])
        if on_sessions and i % 2:
            options["session_id"] = engine.create_session("", seed=0, ttl_s=None).id
        terms = Terms(str(i % tenants), is_batch=i % 5 == 0)
        begun.append(begin(engine, text, count, seed=i, terms=terms, **options))
        clock.now += SLICE_S
        run_slice(engine)
    run_turns(engine, clock)

    for (row, reader), solo in zip(begun, wanted, strict=True):
        engine.close(row)
        assert reader.text == solo.text
        assert [each[:2] for each in reader.items] == [each[:2] for each in solo.items]
        assert reader.finish.reason == solo.finish.reason
        assert reader.finish.generated_tokens == solo.finish.generated_tokens
        if row.session:
            assert row.session.position == solo.finish.position


@pytest.mark.parametrize("kind", ["tagger", "tagger-vectors", "classifier"])
def test_a_sequence_is_answered_the_same_however_often_its_row_makes_way(shapes: Shapes, kind: str) -> None:
    bundle, is_stepwise = shapes.bundle(kind), kind.startswith("tagger")
    inputs = [draw_inputs(kind, 60 + 7 * i, i) for i in range(9)]
    wanted = [read_sequence(make_engine(bundle), [each], is_stepwise=is_stepwise) for each in inputs]

    clock = Clock()
    engine = make_engine(bundle, clock=clock, max_rows=2, max_steps=5, turn_s=0.5)
    rows = []
    for each in inputs:
        reader = Reader()
        row = engine.submit_reading("", Reading(each, is_stepwise), reader)
        engine.end(row)
        rows.append((row, reader))
    run_turns(engine, clock)

    for (row, reader), solo in zip(rows, wanted, strict=True):
        engine.close(row)
        assert reader.finish == solo.finish or reader.finish.position == solo.finish.position
        np.testing.assert_array_equal(values_of(reader), values_of(solo))
        np.testing.assert_array_equal(activations_of(reader), activations_of(solo))


def test_300_long_streams_all_begin_and_go_on(alphabet: Bundle) -> None:
    clock = Clock()
    engine = make_engine(alphabet, clock=clock, max_rows=64, turn_s=1.0, pause_ms=0, max_waiting_tokens=10**9)
    streams = [begin(engine, "hello", 10**6) for _ in range(300)]
    lengths = [0] * 300
    for _ in range(3):
        for _ in range(40):
            clock.now += SLICE_S
            run_slice(engine)
        grown = [len(reader.text) for _, reader in streams]
        assert all(now > before for now, before in zip(grown, lengths, strict=True))
        lengths = grown
    for row, reader in streams:
        engine.close(row)
        assert reader.text == greedy_text("hello", len(reader.text))
    assert engine.streams == 0


def test_who_makes_way_tells_what_it_has(alphabet: Bundle) -> None:
    clock = Clock()
    engine = make_engine(alphabet, clock=clock, max_rows=1, turn_s=1.0, pause_ms=1000, max_steps=4)
    first, early = begin(engine, "hello", 10**6)
    while not early.text:
        run_slice(engine)
    told = len(early.text)
    run_slice(engine)
    assert len(early.text) == told  # the pause is not over
    begin(engine, "hello", 10)
    clock.now += 1.1
    run_slice(engine)

    assert len(early.text) > told
    assert early.text == greedy_text("hello", len(early.text))
    assert first.state is not None


def test_a_tenant_out_of_tokens_is_slowed_and_loses_nothing(dice: Bundle) -> None:
    clock, budget = Clock(), Budget(rate=100.0, burst=50.0)
    engine = make_engine(dice, clock=clock, max_steps=8)
    wanted = [generate(make_engine(dice), "abc", 200, seed=seed).text for seed in range(4)]
    began = clock.now
    streams = [begin(engine, "abc", 200, seed=seed, terms=Terms("a", budget=budget)) for seed in range(4)]
    _, free = begin(engine, "abc", 200, seed=0, terms=Terms("b"))
    while not all(reader.finish for _, reader in streams):
        if not run_slice(engine):
            assert free.text == wanted[0]  # others have long been served
            left_s = engine.seconds_to_wake()
            assert left_s is not None
            assert 0 < left_s < 4 * 8 / 100 + 0.001
            clock.now += left_s

    assert [reader.text for _, reader in streams] == wanted
    fed_and_given = 4 * (3 + 200 - 1)
    assert clock.now - began == pytest.approx((fed_and_given - 50) / 100, rel=0.1)


def test_rows_that_wait_for_tokens_are_not_given_a_place(dice: Bundle) -> None:
    clock, budget = Clock(), Budget(rate=100.0, burst=1.0)
    engine = make_engine(dice, clock=clock, max_rows=2, max_steps=8)
    streams = [begin(engine, "abc", 50, terms=Terms("a", budget=budget)) for _ in range(5)]
    while not all(reader.finish for _, reader in streams):
        if not run_slice(engine):
            clock.now += engine.seconds_to_wake() or pytest.fail("asleep for ever")

    assert clock.now - 1000.0 == pytest.approx(5 * 52 / 100, rel=0.1)


def test_no_more_tokens_wait_than_may(alphabet: Bundle) -> None:
    engine = make_engine(alphabet, max_rows=1, max_waiting_tokens=250)
    running, _ = begin(engine, "a", 10**6)  # it need not wait, however long it is
    run_slice(engine)
    waiting = [begin(engine, "ab", 99)[0] for _ in range(2)]
    assert engine.lane("").scheduler.waiting_steps == 200

    with pytest.raises(QueueFull, match="200 tokens wait; with 100 more there would be more than 250"):
        begin(engine, "ab", 99)
    begin(engine, "a", 50)
    other, _ = begin(engine, "ab", 99, terms=Terms("other"))  # less than half of what may wait
    with pytest.raises(QueueFull):
        begin(engine, "ab", 99, terms=Terms("other"))
    for row in (other, waiting[0]):
        engine.close(row)
    begin(engine, "ab", 99)
    engine.close(running)
    assert engine.streams == 3


def test_an_estimate_of_the_wait_grows_with_the_line(alphabet: Bundle) -> None:
    engine = make_engine(alphabet, max_rows=2)
    scheduler = engine.lane("").scheduler
    assert 0 < scheduler.wait_s(Terms(), 100) < 0.1  # no step has been seen, but some were tried
    for _ in range(100):
        scheduler.pace.learn(2, 10, {"run": 0.010, "settle": 0.0})
    for _ in range(2):
        begin(engine, "a", 10**6)
    assert scheduler.wait_s(Terms(), 0) == 0
    engine.lane("").scheduler.choose(0.0)
    assert scheduler.wait_s(Terms(), 1000) == pytest.approx(0.5)
    for _ in range(4):
        begin(engine, "a", 1000)  # a second each, on two rows

    assert scheduler.wait_s(Terms(), 0) == pytest.approx(1.0)
    begin(engine, "a", 10**6)  # no more than a turn each
    assert scheduler.wait_s(Terms(), 0) == pytest.approx(2.5)
    assert scheduler.wait_s(Terms("other"), 0) == 0


def test_a_source_that_is_read_counts_as_a_stream(shapes: Shapes) -> None:
    engine = make_engine(shapes.bundle("translator"), max_steps=1)
    registry = Metrics([engine]).registry

    def read() -> list[float | None]:
        return [registry.get_sample_value(f"unrolled_streams_{state}") for state in ("waiting", "active")]

    source = draw_inputs("translator", 30, 1)
    generation = Generation(np.empty(0, np.int64), 12, sampling=Sampling(temperature=0.0), end="\n")
    row = engine.submit_transduction("", source, generation, Reader())
    assert read() == [1, 0]
    run_slice(engine)
    assert read() == [0, 1]
    engine.close(row)
    assert read() == [0, 0]


def test_a_transduction_pays_for_what_it_reads(shapes: Shapes) -> None:
    clock, budget = Clock(), Budget(rate=10.0, burst=1.0)
    engine = make_engine(shapes.bundle("translator"), clock=clock)
    source, reader = draw_inputs("translator", 30, 1), Reader()
    generation = Generation(np.empty(0, np.int64), 12, sampling=Sampling(temperature=0.0), end="\n")
    row = engine.submit_transduction("", source, generation, reader, terms=Terms("a", budget=budget))
    while not reader.finish:
        if not run_slice(engine):
            clock.now += engine.seconds_to_wake() or pytest.fail("asleep for ever")
    engine.close(row)

    assert clock.now - 1000.0 >= 2.8

"""Every shape on a plain loop: what the server answers is what the exported graphs answer, a step at a time."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.integration.test_engine import make_engine
from tests.support.loop import Reader, read_sequence, run, run_slice
from tests.support.paper import find_stop
from tests.support.reference import Inputs, Shapes, check_close, log_softmax
from tests.support.shapes import LENGTH, LETTERS, NAMES, TARGETS, WIDTH
from unrolled_service.engine import Engine, SliceFailed
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.sequence_program import SequenceProgram
from unrolled_service.models import abilities
from unrolled_service.rows.delivery import Answer, Described
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading
from unrolled_service.rows.scoring import Score, Scoring

READERS = {
    "tagger": True,
    "tagger-vectors": True,
    "stateless": True,
    "classifier": False,
    "classifier-tokens": False,
    "regressor": False,
}
TRANSLATORS = ("translator", "translator-plain", "translator-vectors")
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.1, "temperature": 2.0},
)
CLEAR = 1e-4

few = settings(max_examples=25)
most_steps = st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)


def draw_inputs(kind: str, count: int, seed: int, *, of_source: bool = False) -> Inputs:
    """Return random inputs of a kind's cell, or of its encoder: tokens, or vectors."""
    random = np.random.default_rng(seed)
    takes_tokens = kind in ("tagger", "classifier-tokens", "translator", "translator-plain", "composer")
    if takes_tokens:
        return random.integers(0, len(LETTERS), count)
    return random.normal(size=(count, 2 if kind == "translator-vectors" and not of_source else WIDTH)).astype(
        np.float32
    )


def cut(inputs: Inputs, places: list[int]) -> list[Inputs]:
    """Cut inputs into pieces, of which only the first may be empty."""
    bounds = sorted({place % len(inputs) for place in places})
    return [inputs[: bounds[0]], *(inputs[a:b] for a, b in pairwise([*bounds, len(inputs)]))] if bounds else [inputs]


def values_of(reader: Reader) -> NDArray[np.float64]:
    return np.array([item.values for item in reader.items if isinstance(item, Answer)])


def activations_of(reader: Reader) -> NDArray[np.float64]:
    return np.array([item.activations for item in reader.items])


@pytest.mark.parametrize("kind", READERS)
@few
@given(
    count=st.integers(1, 200),
    seed=seeds,
    places=st.lists(st.integers(0, 200), max_size=6),
    max_steps=most_steps,
    slices=st.integers(0, 3),
)
def test_what_is_read_is_answered_as_the_cell_answers_it(
    shapes: Shapes, kind: str, count: int, seed: int, places: list[int], max_steps: int, slices: int
) -> None:
    bundle, reference, is_stepwise = shapes.bundle(kind), shapes.reference(kind), READERS[kind]
    inputs = draw_inputs(kind, count, seed)
    size = len(bundle.program.initial)
    traced = np.random.default_rng(seed).integers(0, size, 4) if size else np.empty(0, np.int64)

    reader = read_sequence(
        make_engine(bundle, max_steps=max_steps),
        cut(inputs, places),
        is_stepwise=is_stepwise,
        slices=slices,
        traced=traced,
    )

    wanted = reference.read(inputs)
    first = 0 if is_stepwise else -1
    check_close(values_of(reader), wanted.outputs[first:])
    check_close(activations_of(reader), wanted.states[first:, traced])
    assert reader.finish.reason is FinishReason.END
    assert (reader.finish.prompt_tokens, reader.finish.position) == (count, count)
    assert reader.delivered == count


@pytest.mark.parametrize("kind", ["drawer", "drawer-vector"])
@few
@given(
    prompt=st.integers(0, 80), count=st.integers(1, 200), seed=seeds, max_steps=most_steps, label=st.sampled_from(NAMES)
)
def test_vectors_are_drawn_as_the_cell_draws_them(
    shapes: Shapes, kind: str, prompt: int, count: int, seed: int, max_steps: int, label: str
) -> None:
    bundle, reference = shapes.bundle(kind), shapes.reference(kind)
    random = np.random.default_rng(seed)
    condition = reference.condition(label if kind == "drawer" else random.normal(size=2).tolist())
    begun, traced = draw_inputs(kind, prompt, seed), random.integers(0, len(bundle.program.initial), 3)

    reader = generate(
        make_engine(bundle, max_steps=max_steps), Generation(begun, count, condition=condition, traced=traced)
    )

    fed = np.concatenate([reference.player.start(), begun])
    wanted = reference.draw(fed, count, reference.begin(condition=condition))
    check_close(values_of(reader), wanted.outputs)
    check_close(activations_of(reader), wanted.states[:, traced])
    finish = reader.finish
    assert finish.reason is FinishReason.LENGTH
    assert (finish.prompt_tokens, finish.generated_tokens, finish.position) == (len(fed), count, len(fed) + count)


@settings(max_examples=100)
@given(
    prompt=st.text(TARGETS[1:], max_size=30),
    count=st.integers(1, 100),
    seed=seeds,
    sampling=st.sampled_from(SAMPLINGS),
    stops=st.lists(st.text(TARGETS, min_size=1, max_size=3), max_size=2).map(tuple),
    max_steps=most_steps,
    label=st.sampled_from(NAMES),
    is_traced=st.booleans(),
    logprobs=st.sampled_from((0, 3)),
)
def test_tokens_are_generated_from_a_condition_until_the_end_token(
    shapes: Shapes,
    prompt: str,
    count: int,
    seed: int,
    sampling: dict[str, Any],
    stops: tuple[str, ...],
    max_steps: int,
    label: str,
    is_traced: bool,
    logprobs: int,
) -> None:
    bundle, reference = shapes.bundle("composer"), shapes.reference("composer")
    condition = reference.condition(label)
    traced = np.array([9, 0, 15, 9]) if is_traced else np.empty(0, np.int64)
    begun = np.array([TARGETS.index(letter) for letter in prompt], np.int64)

    reader = generate(
        make_engine(bundle, max_steps=max_steps),
        Generation(
            begun,
            count,
            Sampling(**sampling),
            stops,
            seed,
            condition=condition,
            traced=traced,
            logprobs=logprobs,
            end=abilities.end(bundle),
        ),
    )

    chosen = [*reference.sample([0, *begun], count, reference.begin(condition=condition), seed=seed, **sampling)]
    assume(all(choice.margin > CLEAR for choice, _, _ in chosen))
    check_text(reader, chosen, stops, count, traced, logprobs)
    assert reader.finish.position == 1 + len(prompt) + len(reader.text)
    assert reader.finish.prompt_tokens == 1 + len(prompt)


def check_text(
    reader: Reader, chosen: list[Any], stops: tuple[str, ...], count: int, traced: Inputs, logprobs: int
) -> None:
    """Compare a text, its end and what was asked for beside it with the choices of a sampler."""
    text, stop = find_stop("".join(TARGETS[choice.token] for choice, _, _ in chosen), (*stops, TARGETS[0]))
    reasons = {"": FinishReason.LENGTH, TARGETS[0]: FinishReason.END}
    assert reader.text == text
    assert reader.finish.reason is reasons.get(stop, FinishReason.STOP)
    assert reader.finish.stop == ("" if stop == TARGETS[0] else stop)
    assert reader.finish.generated_tokens == len(text) <= count
    assert len(reader.items) == (len(text) if logprobs or len(traced) else 0)
    for item, (choice, logits, state) in zip(reader.items, chosen, strict=False):
        assert isinstance(item, Described)
        if len(traced):
            check_close(item.activations, state[traced])
        if logprobs:
            logs = log_softmax(logits)
            check_close(item.chosen, logs[choice.token], within=1e-4)
            check_close([each for _, each in item.top], np.sort(logs)[::-1][:logprobs], within=1e-4)
        else:
            assert np.isnan(item.chosen)


@pytest.mark.parametrize("kind", TRANSLATORS)
@few
@given(count=st.integers(1, 200), length=st.integers(1, 60), seed=seeds, max_steps=most_steps, data=st.data())
def test_a_source_is_answered_with_what_the_decoder_makes_of_its_context(
    shapes: Shapes, kind: str, count: int, length: int, seed: int, max_steps: int, data: st.DataObject
) -> None:
    bundle, reference = shapes.bundle(kind), shapes.reference(kind)
    source = draw_inputs(kind, count, seed, of_source=True)
    engine, state = make_engine(bundle, max_steps=max_steps), reference.begin(source=source)
    start = reference.player.start()

    if kind == "translator-vectors":
        reader = transduce(engine, source, Generation(np.empty((0, 2), np.float32), length))
        check_close(values_of(reader), reference.draw(start, length, state).outputs)
        assert reader.finish.reason is FinishReason.LENGTH
    else:
        sampling = data.draw(st.sampled_from(SAMPLINGS))
        stops = data.draw(st.lists(st.text(TARGETS[1:], min_size=1, max_size=2), max_size=2).map(tuple))
        chosen = [*reference.sample(start.tolist(), length, state, seed=seed, **sampling)]
        assume(all(choice.margin > CLEAR for choice, _, _ in chosen))
        generation = Generation(
            np.empty(0, np.int64), length, Sampling(**sampling), stops, seed, logprobs=2, end=abilities.end(bundle)
        )
        reader = transduce(engine, source, generation)
        check_text(reader, chosen, stops, length, np.empty(0, np.int64), 2)
    assert reader.finish.prompt_tokens == count + 1
    assert engine.streams == 0


@few
@given(
    text=st.text(TARGETS, min_size=1, max_size=200),
    label=st.sampled_from(NAMES),
    max_steps=most_steps,
    per_token=st.booleans(),
    logprobs=st.sampled_from((0, 2)),
)
def test_a_text_is_scored_behind_the_start_token_from_its_condition(
    shapes: Shapes, text: str, label: str, max_steps: int, per_token: bool, logprobs: int
) -> None:
    bundle, reference = shapes.bundle("composer"), shapes.reference("composer")
    condition, traced = reference.condition(label), np.array([15, 3]) if per_token else np.empty(0, np.int64)
    tokens = np.array([0, *(TARGETS.index(letter) for letter in text)])

    engine, reader = make_engine(bundle, max_steps=max_steps), Reader()
    row = engine.submit_scoring("", Scoring(tokens, logprobs if per_token else 0, per_token, traced, condition), reader)
    run(engine)
    engine.close(row)

    wanted = reference.read(tokens[:-1], reference.begin(condition=condition))
    logs = np.array([log_softmax(logits)[token] for logits, token in zip(wanted.outputs, tokens[1:], strict=True)])
    score = reader.finish
    assert isinstance(score, Score)
    assert score.tokens == len(text)
    check_close(score.logprob, logs.sum(), within=1e-4)
    if per_token:
        check_close([each.chosen for each in score.described], logs, within=1e-4)
        check_close([each.activations for each in score.described], wanted.states[:, traced])
        assert {len(each.top) for each in score.described} == {logprobs}
    else:
        assert score.described == []


def test_a_condition_decides_what_comes(shapes: Shapes) -> None:
    bundle, reference = shapes.bundle("drawer"), shapes.reference("drawer")
    drawn = [
        values_of(generate(make_engine(bundle), Generation(draw_inputs("drawer", 0, 0), LENGTH, condition=numbers)))
        for numbers in map(reference.condition, NAMES)
    ]

    assert all(np.abs(one - other).max() > 0.01 for one, other in pairwise(drawn))


def test_a_defect_keeps_no_end_from_a_caller(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(shapes.bundle("tagger"))
    inputs = draw_inputs("tagger", 5, 0)
    ended, broken = Reader(), Reader()
    first = engine.submit_reading("", Reading(inputs, True), ended)
    run(engine)
    engine.submit_reading("", Reading(inputs, True), broken)
    engine.end(first)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise RuntimeError

        patch.setattr(SequenceProgram, "run", fail)
        with pytest.raises(SliceFailed) as caught:
            run(engine)
    for news in engine.fail(caught.value, key=str(caught.value)):
        assert news.sink is broken
        broken.put(news)
    run(engine)

    assert ended.finish.reason is FinishReason.END
    assert broken.error is caught.value


@pytest.mark.parametrize(("kind", "count"), [("tagger", 3), ("tagger", 0), ("classifier", 0)])
def test_an_end_is_told_though_its_session_is_looked_up_at_that_moment(shapes: Shapes, kind: str, count: int) -> None:
    engine, reader = make_engine(shapes.bundle(kind)), Reader()
    session = engine.create_session("", seed=None, ttl_s=None)
    row = engine.submit_reading("", Reading(draw_inputs(kind, count, 0), READERS[kind], session.id), reader)
    run(engine)

    engine.end(row)
    assert engine.session(session.id).row is row
    run(engine)

    assert reader.finish.reason is FinishReason.END
    assert engine.session(session.id).row is None


def test_a_call_that_waits_for_inputs_keeps_no_batch_in_memory(shapes: Shapes) -> None:
    engine = make_engine(shapes.bundle("tagger"))
    rows = [engine.submit_reading("", Reading(draw_inputs("tagger", 3 + i, i), True), Reader()) for i in range(20)]
    run(engine)

    assert all(row.state is not None and row.state.base is None for row in rows)


def test_a_call_that_waits_for_inputs_costs_no_slice(shapes: Shapes) -> None:
    engine, reader = make_engine(shapes.bundle("tagger")), Reader()
    row = engine.submit_reading("", Reading(draw_inputs("tagger", 3, 0), True), reader)
    run(engine)

    assert engine.slice() is None
    assert engine.lanes["tagger"].scheduler.resting == 1
    engine.feed(row, draw_inputs("tagger", 2, 1))
    run(engine)
    assert len(reader.items) == 5
    assert engine.slice() is None


def test_what_is_not_read_is_not_computed(shapes: Shapes) -> None:
    engine, reader = make_engine(shapes.bundle("tagger"), credit=20, max_steps=8), Reader(is_eager=False)
    row = engine.submit_reading("", Reading(draw_inputs("tagger", 4000, 0), True), reader)
    run(engine)

    assert 20 < row.consumed <= 20 + 8
    reader.read()
    run(engine)
    assert 40 < row.consumed <= 2 * (20 + 8)


def test_a_transduction_is_closed_at_any_moment(shapes: Shapes) -> None:
    engine = make_engine(shapes.bundle("translator"), max_steps=2)
    source = draw_inputs("translator", 9, 0)
    for slices in range(20):
        reader = Reader()
        row = engine.submit_transduction("", source, Generation(np.empty(0, np.int64), 10), reader)
        for _ in range(slices):
            run_slice(engine)
        engine.close(row)
        text = reader.text
        run(engine)
        assert reader.text == text
        assert engine.streams == 0
        assert all(not lane.streams and not len(lane.scheduler) for lane in engine._turns)


def generate(engine: Engine, generation: Generation) -> Reader:
    """Run one generation to its end and close it."""
    reader = Reader()
    row = engine.submit("", generation, reader)
    run(engine)
    engine.close(row)
    return reader


def transduce(engine: Engine, source: Inputs, generation: Generation) -> Reader:
    """Run one transduction to its end and close it."""
    reader = Reader()
    row = engine.submit_transduction("", source, generation, reader)
    run(engine)
    engine.close(row)
    return reader

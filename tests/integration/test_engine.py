"""The promises of the engine, one test each, in a plain loop."""

import random

import pytest

from tests.support.alphabet import greedy_text, plain_uniform, sampled_tokens
from tests.support.loop import Clock, Reader, begin, generate, run, run_slice
from unrolled_service.engine import Engine, SliceFailed
from unrolled_service.errors import (
    Draining,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    PositionMismatch,
    QueueFull,
    SessionBusy,
    SessionExpired,
    SessionNotFound,
    SlotsExhausted,
)
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.stream import Stream
from unrolled_service.settings import Settings


def make_engine(*bundles: Bundle, clock: Clock | None = None, **settings: object) -> Engine:
    return Engine(bundles, Settings(**settings), clock or Clock())  # type: ignore[arg-type]


def test_greedy_text_is_what_paper_says(alphabet: Bundle) -> None:
    reader = generate(make_engine(alphabet), "hello", 100, sampling=Sampling(temperature=0))

    assert reader.text == greedy_text("hello", 100)
    assert reader.finish is not None
    assert reader.finish.reason is FinishReason.LENGTH
    assert (reader.finish.prompt_tokens, reader.finish.generated_tokens, reader.finish.position) == (
        5,
        100,
        105,
    )


def test_sampled_text_is_what_paper_says(dice: Bundle) -> None:
    reader = generate(make_engine(dice), "a", 200, seed=11)

    expected = sampled_tokens(0, 200, seed=11, vocabulary_size=26, sharpness=2.0)
    assert reader.text == "".join(dice.manifest.vocabulary[token] for token in expected)


@pytest.mark.parametrize(("seed", "drawn"), [(21_626_905, 0.0), (36_805_600, 1 - 2**-24)])
def test_no_draw_takes_what_has_no_mass(alphabet: Bundle, seed: int, drawn: float) -> None:
    assert plain_uniform(seed, 6) == drawn

    assert generate(make_engine(alphabet), "hello", 30, seed=seed).text == greedy_text("hello", 30)


@pytest.mark.parametrize("max_steps", [1, 2, 7, 64])
def test_64_streams_give_what_each_gives_alone(dice: Bundle, max_steps: int) -> None:
    prompts = ["abc" * (1 + i % 9) for i in range(64)]
    samplings = [Sampling(temperature=0.5 + i % 3, top_k=i % 5, min_p=0.01 * (i % 2)) for i in range(64)]
    solo = [
        generate(make_engine(dice), prompt, 50, seed=i, sampling=samplings[i]).text for i, prompt in enumerate(prompts)
    ]
    engine = make_engine(dice, max_steps=max_steps, max_rows=40)
    readers = []
    for i, prompt in enumerate(prompts):
        readers.append(begin(engine, prompt, 50, seed=i, sampling=samplings[i])[1])
        if i % 3 == 0:
            run_slice(engine)
    run(engine)

    assert [reader.text for reader in readers] == solo


@pytest.mark.parametrize("first", [1, 15, 39])
def test_a_split_changes_nothing(dice: Bundle, first: int) -> None:
    engine = make_engine(dice, max_steps=8)
    whole = generate(engine, "hello", 40, seed=3).text
    session = engine.create_session("", seed=3, ttl_s=None)

    parts = [
        generate(engine, "hello", first, session_id=session.id).text,
        generate(engine, "", 40 - first, session_id=session.id, expected_position=5 + first).text,
    ]

    assert "".join(parts) == whole
    assert session.position == 45


def test_a_broken_stream_continues_from_prompt_text_and_seed(dice: Bundle) -> None:
    engine = make_engine(dice)
    whole = generate(engine, "hello", 60, seed=9).text

    assert whole[:23] + generate(engine, "hello" + whole[:23], 37, seed=9).text == whole


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_stop_leaves_the_session_before_the_stop_text(alphabet: Bundle, cut: int) -> None:
    text = greedy_text("hello", 60)
    stop = text[cut : cut + 4]
    cut = text.find(stop)
    engine = make_engine(alphabet, max_steps=5)
    session = engine.create_session("", seed=1, ttl_s=None)

    reader = generate(engine, "hello", 60, session_id=session.id, stops=(stop,))

    assert reader.text == text[:cut]
    assert reader.finish is not None
    assert (reader.finish.reason, reader.finish.stop, reader.finish.position) == (
        FinishReason.STOP,
        stop,
        5 + cut,
    )
    assert session.position == 5 + cut
    assert generate(engine, "", 20, session_id=session.id).text == greedy_text("hello" + text[:cut], 20)


def test_text_held_back_for_a_stop_comes_with_the_last_token(alphabet: Bundle) -> None:
    text = greedy_text("hello", 10)

    assert generate(make_engine(alphabet), "hello", 10, stops=(text[-3:] + "zz",)).text == text


@pytest.mark.parametrize("seed", range(20))
def test_a_cancelled_stream_leaves_the_session_at_the_last_delivered_position(alphabet: Bundle, seed: int) -> None:
    chance = random.Random(seed)
    engine = make_engine(alphabet, max_steps=chance.choice([1, 3, 16]), credit=chance.choice([4, 64]))
    session = engine.create_session("", seed=1, ttl_s=None)
    history = ""
    for _ in range(12):
        prompt = "hello"[: chance.randint(0 if history else 1, 5)]
        reader = Reader(is_eager=False)
        stream, _ = begin(engine, prompt, chance.randint(1, 60), reader=reader, session_id=session.id)
        for _ in range(chance.randint(0, 8)):
            run_slice(engine)
            if chance.random() < 0.6:
                reader.read(chance.randint(0, 2))
        engine.close(stream)
        expected = greedy_text(history + prompt, len(reader.text)) if reader.text else ""
        assert reader.text == expected
        if reader.text:
            history += prompt + reader.text
        assert session.position == len(history)
    assert engine.lanes["alphabet"].residency.arena.slots_in_use == 1


def test_a_stream_that_is_read_to_its_end_frees_its_session_by_itself(alphabet: Bundle) -> None:
    engine = make_engine(alphabet)
    session = engine.create_session("", seed=1, ttl_s=None)
    begin(engine, "hello", 5, session_id=session.id)
    run(engine)

    begin(engine, "", 5, session_id=session.id)  # without a close in between

    assert engine.streams == 1


def test_a_session_follows_a_stream_that_is_always_ahead_of_its_reader(alphabet: Bundle) -> None:
    clock = Clock()
    engine = make_engine(alphabet, max_steps=4, rewind_tokens=16, clock=clock)
    session = engine.create_session("", seed=1, ttl_s=None)
    reader = Reader(is_eager=False)
    stream, _ = begin(engine, "hello", 1000, session_id=session.id, reader=reader)
    for turn in range(100):
        clock.now += 0.1  # time for news of every slice
        run_slice(engine)
        if turn > 5:
            reader.read(1)  # of a slice before
    assert len(reader.text) > 200
    assert 5 + len(reader.text) - session.consumed <= 10 * 4
    assert session.history.start == 0
    engine.close(stream)


def test_a_session_takes_one_stream_at_a_time(alphabet: Bundle) -> None:
    engine = make_engine(alphabet)
    session = engine.create_session("", seed=1, ttl_s=None)
    begin(engine, "hello", 5, session_id=session.id, reader=Reader(is_eager=False))
    run(engine)

    with pytest.raises(SessionBusy):
        begin(engine, "", 5, session_id=session.id)
    with pytest.raises(SessionBusy):
        engine.delete_session(session.id)


def test_refusals_leave_nothing_behind(alphabet: Bundle, dice: Bundle) -> None:
    engine = make_engine(alphabet, dice)
    session = engine.create_session("dice", seed=1, ttl_s=None)

    with pytest.raises(ModelNotFound):
        begin(engine, "a", 1, model="")
    with pytest.raises(ModelMismatch):
        begin(engine, "a", 1, model="alphabet", session_id=session.id)
    with pytest.raises(PositionMismatch, match="expected_position is 3, the session is at 0"):
        begin(engine, "a", 1, model="dice", session_id=session.id, expected_position=3)
    with pytest.raises(InvalidField, match="prompt"):
        begin(engine, "", 1, model="dice", session_id=session.id)
    with pytest.raises(SessionNotFound):
        begin(engine, "a", 1, model="dice", session_id="nobody")

    assert engine.streams == 0
    assert session.row is None
    assert [lane.sessions for lane in engine.lanes.values()] == [0, 1]
    assert [lane.residency.arena.slots_in_use for lane in engine.lanes.values()] == [0, 0]


def test_a_full_server_refuses_and_says_when_to_come_back(alphabet: Bundle) -> None:
    engine = make_engine(alphabet, max_sessions=1, max_streams=2, max_rows=1)
    engine.create_session("", seed=1, ttl_s=None)
    streams = [begin(engine, "a", 3)[0] for _ in range(2)]

    with pytest.raises(SlotsExhausted) as sessions:
        engine.create_session("", seed=1, ttl_s=None)
    with pytest.raises(QueueFull) as queue:
        begin(engine, "a", 3)
    assert sessions.value.retry_after_s
    assert queue.value.retry_after_s

    run(engine)
    with pytest.raises(QueueFull):  # they are computed, but their callers are not done with them
        begin(engine, "a", 3)
    for stream in streams:
        engine.close(stream)
    begin(engine, "a", 3)


def test_an_idle_session_expires_loudly(alphabet: Bundle) -> None:
    clock = Clock()
    engine = make_engine(alphabet, clock=clock)
    session, other = (engine.create_session("", seed=1, ttl_s=ttl_s) for ttl_s in (10, 100))
    clock.now += 9
    generate(engine, "a", 3, session_id=session.id)
    clock.now += 9
    assert engine.session(session.id) is session

    clock.now += 2

    for _ in range(2):
        with pytest.raises(SessionExpired):
            engine.session(session.id)
    assert engine.registry.page(0, 10) == [other]
    assert engine.lanes["alphabet"].residency.arena.slots_in_use == 0


def test_a_streaming_session_does_not_expire(alphabet: Bundle) -> None:
    clock = Clock()
    engine = make_engine(alphabet, clock=clock)
    session = engine.create_session("", seed=1, ttl_s=10)
    stream, _ = begin(engine, "a", 1000, session_id=session.id)
    run_slice(engine)
    clock.now += 100

    assert engine.registry.expire() == 0
    run(engine)
    engine.close(stream)
    clock.now += 9
    assert engine.registry.expire() == 0
    clock.now += 2
    assert engine.registry.expire() == 1


def test_a_stream_without_a_reader_rests_and_others_go_on(alphabet: Bundle) -> None:
    engine = make_engine(alphabet, credit=20, max_steps=4, max_rows=1)
    reader = Reader(is_eager=False)
    stream, _ = begin(engine, "hello", 1000, reader=reader)
    run(engine)

    assert 20 < stream.unread <= 20 + 4 * 32  # the text of so many slices may have gathered
    assert generate(engine, "other", 50).text == greedy_text("other", 50)

    reader.is_eager = True
    reader.read()
    run(engine)
    assert reader.text == greedy_text("hello", 1000)


def test_several_models_take_turns(alphabet: Bundle, dice: Bundle) -> None:
    engine = make_engine(alphabet, dice, max_steps=2)
    begin(engine, "a", 20, model="alphabet")
    begin(engine, "a", 20, model="dice")

    models = [done.model for _ in range(8) if (done := engine.slice())]

    assert models == ["alphabet", "dice"] * 4


def test_sessions_are_listed_in_pages(alphabet: Bundle) -> None:
    engine = make_engine(alphabet)
    made = [engine.create_session("", seed=1, ttl_s=None) for _ in range(5)]
    engine.delete_session(made[1].id)

    assert engine.registry.page(0, 2) == [made[0], made[2]]
    assert engine.registry.page(made[2].serial, 10) == made[3:]


def test_a_draining_engine_takes_no_new_work_and_finishes_the_old(alphabet: Bundle) -> None:
    engine = make_engine(alphabet)
    _, reader = begin(engine, "hello", 20)
    engine.is_draining = True

    with pytest.raises(Draining):
        begin(engine, "a", 1)
    with pytest.raises(Draining):
        engine.create_session("", seed=1, ttl_s=None)
    run(engine)
    assert reader.text == greedy_text("hello", 20)


def test_a_defect_ends_the_streams_of_its_model_only(
    alphabet: Bundle, dice: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(alphabet, dice)
    broken, _ = begin(engine, "a", 20, model="dice")
    whole, _ = begin(engine, "hello", 20, model="alphabet")
    monkeypatch.setattr(engine.lanes["dice"].scheduler, "steps", lambda *_: 1 // 0)

    with pytest.raises(SliceFailed, match="dice") as caught:
        while engine.slice():
            pass
    news = engine.fail(RuntimeError("defect"), key=str(caught.value))

    assert [delivery.sink for delivery in news] == [broken.sink]
    run(engine)
    for stream in (broken, whole):
        engine.close(stream)
    assert engine.streams == 0
    assert all(lane.residency.arena.slots_in_use == 0 for lane in engine.lanes.values())


def test_slices_count_the_tokens_that_callers_get(alphabet: Bundle) -> None:
    engine = make_engine(alphabet, max_steps=6)
    session = engine.create_session("", seed=1, ttl_s=None)
    totals = [0, 0]
    for prompt, length in (("hello", 17), ("ab", 9), ("", 4)):
        stream, _ = begin(engine, prompt, length, session_id=session.id)
        while done := engine.slice():
            totals[0] += done.prompt_tokens
            totals[1] += done.generated_tokens
            for delivery in done.deliveries:
                delivery.sink.delivered = delivery.position
        engine.close(stream)

    assert totals == [7, 30]


def test_closing_twice_is_harmless(alphabet: Bundle) -> None:
    engine = make_engine(alphabet)
    stream, _ = begin(engine, "a", 3)
    engine.close(stream)
    engine.close(stream)

    assert isinstance(stream, Stream)
    assert engine.streams == 0
    assert engine.slice() is None

"""Penalties, log-probabilities and scores, through the engine and over the wire."""

import math

import numpy as np
import pytest

from tests.integration.test_engine import make_engine
from tests.support.loop import Reader, begin, generate, run
from tests.support.serving import serving
from unrolled_client import Client
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Described
from unrolled_service.rows.scoring import Score, Scoring

PENALIZED = Sampling(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.7, logit_bias=((3, 1.5),))


@pytest.mark.parametrize("first", [1, 7, 39])
def test_a_split_changes_nothing_under_penalties(dice: Bundle, first: int) -> None:
    engine = make_engine(dice, max_steps=6)
    whole = generate(engine, "hello", 40, seed=3, sampling=PENALIZED).text
    session = engine.create_session("", seed=3, ttl_s=None)
    options = {"session_id": session.id, "sampling": PENALIZED}

    parts = [generate(engine, "hello", first, **options).text, generate(engine, "", 40 - first, **options).text]

    assert "".join(parts) == whole
    assert whole != generate(engine, "hello", 40, seed=3).text


@pytest.mark.parametrize("cut", [1, 13, 39])
def test_a_broken_stream_continues_under_penalties(dice: Bundle, cut: int) -> None:
    engine = make_engine(dice, max_steps=6)
    whole = generate(engine, "hello", 40, seed=3, sampling=PENALIZED).text

    rest = generate(engine, "hello" + whole[:cut], 40 - cut, seed=3, sampling=PENALIZED, resumed_tokens=cut).text

    assert whole[:cut] + rest == whole


def test_a_cancelled_session_keeps_exact_counts(dice: Bundle) -> None:
    engine = make_engine(dice, max_steps=8, credit=4)
    whole = generate(engine, "hello", 60, seed=3, sampling=PENALIZED).text
    session = engine.create_session("", seed=3, ttl_s=None)
    reader = Reader(is_eager=False)
    stream, _ = begin(engine, "hello", 60, reader=reader, session_id=session.id, sampling=PENALIZED)
    while len(reader.text) < 20:
        run(engine)
        reader.read(1)
    engine.close(stream)

    rest = generate(engine, "", 60 - len(reader.text), session_id=session.id, sampling=PENALIZED).text

    assert reader.text + rest == whole


def test_penalized_neighbours_change_nothing(dice: Bundle) -> None:
    solo = generate(make_engine(dice), "hello", 50, seed=5).text
    engine = make_engine(dice)
    for seed in range(10):
        begin(engine, "hello", 80, seed=seed, sampling=PENALIZED, logprobs=seed)
    _, reader = begin(engine, "hello", 50, seed=5)
    run(engine)

    assert reader.text == solo


class Listener(Reader):
    """A reader that keeps the descriptions."""

    def __init__(self) -> None:
        super().__init__()
        self.described: list[Described] = []

    def put(self, delivery: object) -> None:
        self.described.extend(delivery.items)  # type: ignore[attr-defined]
        super().put(delivery)  # type: ignore[arg-type]


@pytest.mark.parametrize("stops", [(), ("zzzzz",), ("q",)])
def test_every_character_shown_is_described_once(dice: Bundle, stops: tuple[str, ...]) -> None:
    engine = make_engine(dice, max_steps=5)
    listener = Listener()
    begin(engine, "hello", 50, reader=listener, seed=8, logprobs=3, stops=stops)
    run(engine)

    assert len(listener.described) == len(listener.text)
    certain = math.log(math.exp(2) / (math.exp(2) + 25))
    for character, described in zip(listener.text, listener.described, strict=True):
        token = dice.vocabulary.encode(character, field="")[0]
        likeliest = described.top[0]
        assert math.isclose(likeliest[1], certain, abs_tol=1e-5)
        assert math.isclose(described.chosen, certain if token == likeliest[0] else certain - 2, abs_tol=1e-5)
        assert len(described.top) == 3


@pytest.mark.parametrize("max_steps", [1, 5, 64])
def test_a_score_is_the_sum_of_its_tokens(dice: Bundle, max_steps: int) -> None:
    text = "hello" + generate(make_engine(dice), "hello", 200, seed=1).text
    engine = make_engine(dice, max_steps=max_steps)
    begin(engine, "other", 100, seed=2)
    reader = Reader()
    row = engine.submit_scoring("", Scoring(dice.vocabulary.encode(text, field=""), 2, per_token=True), reader)
    run(engine)
    engine.close(row)

    score = reader.finish
    assert isinstance(score, Score)
    tokens = dice.vocabulary.encode(text, field="")
    expected = [
        math.log((math.exp(2.0) if (tokens[i] + i + 1) % 26 == tokens[i + 1] else 1.0) / (math.exp(2.0) + 25))
        for i in range(len(tokens) - 1)
    ]
    assert score.tokens == len(expected)
    assert np.allclose([each.chosen for each in score.described], expected, atol=1e-5)
    assert math.isclose(score.logprob, sum(expected), rel_tol=1e-5)


def test_scores_and_log_probabilities_over_the_wire(dice: Bundle) -> None:
    with serving(dice) as server, Client(server.address) as client:
        with client.generate("hello", max_tokens=60, seed=1, logprobs=2) as stream:
            chunks = list(stream.chunks())
        text = "hello" + stream.text
        generated = [each for chunk in chunks for each in chunk.logprobs]
        score = client.score(text, logprobs=2, per_token=True)

    assert "".join(each.chosen.token for each in generated) == stream.text
    assert score.logprobs[4:] == tuple(generated)
    assert score.tokens == len(text) - 1
    assert math.isclose(score.logprob, sum(each.chosen.logprob for each in score.logprobs), rel_tol=1e-6)
    assert math.isclose(score.bits_per_token, score.nats_per_token / math.log(2))

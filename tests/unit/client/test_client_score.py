from typing import Any

from tests.unit.client.fake_server import FakeServer
from unrolled.v1 import generation_pb2
from unrolled_client import Score, TokenLogprob, TokenLogprobs


def test_a_text_is_scored(client: Any, fake: FakeServer) -> None:
    assert client.score("abc") == Score(logprob=-3.0, tokens=2, nats_per_token=1.5, bits_per_token=2.25)
    assert fake.requests == [generation_pb2.ScoreRequest(text="abc")]


def test_tokens_are_described_when_asked_for(client: Any, fake: FakeServer) -> None:
    score = client.score("abc", model="letters", logprobs=1, per_token=True)

    top = (TokenLogprob("x", -0.5),)
    assert score.logprobs == tuple(TokenLogprobs(TokenLogprob(letter, -1.5), top) for letter in "bc")
    assert fake.requests == [generation_pb2.ScoreRequest(model="letters", text="abc", logprobs=1, per_token=True)]


def test_a_score_tells_of_the_state_and_takes_a_condition(client: Any, fake: FakeServer) -> None:
    score = client.score("abc", per_token=True, activations=("h0", [1]), condition="seven")
    assert score.activations == ((0.0,), (1.0,))
    wanted = generation_pb2.ScoreRequest(text="abc", per_token=True)
    wanted.condition.label = "seven"
    wanted.activations.MergeFrom(generation_pb2.Activations(state="h0", units=[1]))
    assert fake.requests == [wanted]


def test_a_score_has_its_own_timeout(client: Any, fake: FakeServer) -> None:
    client.score("abc")
    client.score("abc", timeout=50.0)

    unlimited, limited = fake.deadlines_s
    assert unlimited is None or unlimited > 1e9  # what no deadline looks like on the server differs
    assert limited is not None
    assert 40 < limited < 60

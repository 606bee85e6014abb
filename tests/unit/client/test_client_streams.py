import gc
import socket
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from tests.unit.client.fake_sequences import vectors
from tests.unit.client.fake_server import (
    DRAWN_SEED,
    PATIENCE_S,
    FakeServer,
    Hang,
    bare_status,
    chunk,
    finish,
    letters,
    refusal,
)
from tests.unit.client.test_client_models import drawing
from unrolled.v1 import generation_pb2
from unrolled_client import Chunk, Finish, Sampling, TokenLogprob, TokenLogprobs, errors


def test_pieces_arrive_in_order_and_the_finish_tells_how_it_ended(client: Any) -> None:
    with client.generate("ROMEO:", max_tokens=7, seed=5) as stream:
        assert stream.finish is None
        assert stream.seed is None
        assert list(stream) == ["abc", "def", "g"]
    assert stream.text == "abcdefg"
    assert stream.position == 13
    assert stream.seed == 5
    assert stream.finish == Finish(
        reason="length",
        stop=None,
        prompt_tokens=6,
        generated_tokens=7,
        seed=5,
        position=13,
        start_position=0,
        queue_s=0.001,
        first_token_s=0.002,
        total_s=1.5,
    )


def test_read_returns_the_whole_text_even_after_a_part_was_iterated(brittle: Any) -> None:
    stream = brittle.generate("x", max_tokens=40)
    assert next(iter(stream)) == "abc"
    assert stream.read() == letters(40)
    assert stream.read() == letters(40)
    assert stream.seed == DRAWN_SEED


def test_chunks_carry_positions_and_logprobs(client: Any, fake: FakeServer) -> None:
    probable = generation_pb2.TokenLogprob(token="b", logprob=-0.5)
    entry = generation_pb2.TokenLogprobs(chosen=generation_pb2.TokenLogprob(token="a", logprob=-1.0), top=[probable])
    described = generation_pb2.Chunk(text="a", position=2, logprobs=[entry])
    fake.script = [
        generation_pb2.GenerateResponse(chunk=described),
        chunk("bc", 4),
        finish(generation_pb2.GenerateRequest(), 4),
    ]
    with client.generate("x", max_tokens=3) as stream:
        chunks = list(stream.chunks())
    logprobs = TokenLogprobs(TokenLogprob("a", -1.0), (TokenLogprob("b", -0.5),))
    assert chunks == [Chunk("a", 2, (logprobs,)), Chunk("bc", 4)]


def drawn(position: int, *rows: list[float]) -> generation_pb2.GenerateResponse:
    watched = [[float(position)] for _ in rows]
    piece = generation_pb2.Chunk(position=position, vectors=vectors(*rows), activations=vectors(*watched))
    return generation_pb2.GenerateResponse(chunk=piece)


def test_vectors_are_drawn_from_a_condition(client: Any, fake: FakeServer) -> None:
    fake.script = [drawn(3, [0.5, 1.0], [0.25, 0.0]), drawn(4, [1.0, 1.0]), finish(generation_pb2.GenerateRequest(), 4)]
    options = {"condition": np.array([0.5, 2.0]), "prompt_vectors": [[1.0, 0.5]], "activations": ("h1", [3])}
    with client.generate(**options, seed=1) as stream:
        chunks = list(stream.chunks())
    assert chunks[0] == Chunk("", 3, (), ((0.5, 1.0), (0.25, 0.0)), ((3.0,), (3.0,)))
    assert [each.count for each in chunks] == [2, 1]
    assert stream.vectors == ((0.5, 1.0), (0.25, 0.0), (1.0, 1.0))
    assert stream.activations == ((3.0,), (3.0,), (4.0,))
    assert (stream.text, stream.position) == ("", 4)
    wanted = generation_pb2.GenerateRequest(seed=1, prompt_vectors=vectors([1.0, 0.5]))
    wanted.condition.vector.values.extend([0.5, 2.0])
    wanted.activations.MergeFrom(generation_pb2.Activations(state="h1", units=[3]))
    assert fake.requests == [wanted]
    client.generate(condition="seven", seed=1).read()
    assert fake.requests[1].condition == generation_pb2.Conditioning(label="seven")


def test_a_drawing_that_breaks_goes_on_behind_what_is_there(hasty: Any, fake: FakeServer) -> None:
    fake.models = [drawing()]
    fake.script = [drawn(2, [0.5, 1.0]), bare_status(14, "cut")]
    stream = hasty.generate(condition="one", activations="h0")
    assert next(iter(stream.chunks())).vectors == ((0.5, 1.0),)
    fake.script = [drawn(5, [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]), finish(generation_pb2.GenerateRequest(), 5)]
    stream.read()
    assert (len(stream.vectors), len(stream.activations), stream.resumes) == (4, 4, 1)
    assert (stream.finish.prompt_tokens, stream.finish.generated_tokens) == (1, 4)
    first, _, second = fake.requests
    assert (first.max_tokens, second.max_tokens, second.resumed_tokens) == (0, 3, 0)
    assert (second.condition, second.activations) == (first.condition, first.activations)
    assert (list(second.prompt_vectors), second.seed) == (vectors([0.5, 1.0]), first.seed)


@pytest.mark.parametrize("options", [{"condition": 7}, {"condition": [[1.0]]}, {"prompt_vectors": [1.0, 2.0]}])
def test_what_is_no_vector_is_refused_here(client: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        client.generate(**options)


def test_what_is_unset_stays_unset_on_the_wire(brittle: Any, fake: FakeServer) -> None:
    brittle.generate("x", max_tokens=1).read()
    brittle.generate("x", max_tokens=1, model=None, temperature=None, stop=None, seed=None, logprobs=None).read()
    assert fake.requests == 2 * [generation_pb2.GenerateRequest(prompt="x", max_tokens=1)]
    assert not fake.requests[0].HasField("sampling")
    assert fake.deadlines_s[0] is None or fake.deadlines_s[0] > 1e6
    assert "x-session-id" not in fake.metadata[0]


def test_every_option_reaches_the_wire_and_zero_is_not_unset(client: Any, fake: FakeServer) -> None:
    client.generate(
        "x",
        max_tokens=1,
        model="m",
        sampling=Sampling(temperature=0.5, top_k=3, top_p=0.25, presence_penalty=0.0),
        temperature=0.0,
        min_p=0.125,
        repetition_penalty=1.5,
        frequency_penalty=0.75,
        logit_bias={"a": 2.0},
        stop=["\n", "end"],
        seed=0,
        expected_position=0,
        logprobs=2,
        preempt=True,
    ).read()
    assert fake.requests == [
        generation_pb2.GenerateRequest(
            prompt="x",
            max_tokens=1,
            model="m",
            sampling=generation_pb2.Sampling(
                temperature=0.0,
                top_k=3,
                top_p=0.25,
                min_p=0.125,
                repetition_penalty=1.5,
                presence_penalty=0.0,
                frequency_penalty=0.75,
                logit_bias={"a": 2.0},
            ),
            stop=["\n", "end"],
            seed=0,
            expected_position=0,
            logprobs=2,
            preempt=True,
        )
    ]


def test_a_lone_stop_text_is_one_text(client: Any, fake: FakeServer) -> None:
    client.generate("x", max_tokens=1, stop="end").read()
    assert list(fake.requests[0].stop) == ["end"]


def test_unknown_options_and_numbers_too_large_are_refused_here(client: Any, fake: FakeServer) -> None:
    with pytest.raises(TypeError, match="temprature"):
        client.generate("x", max_tokens=1, temprature=1.0)
    with pytest.raises(ValueError, match="18446744073709551616"):
        client.generate("x", max_tokens=1, seed=2**64)
    assert fake.requests == []


def test_a_stop_text_is_told(client: Any, fake: FakeServer) -> None:
    ended = generation_pb2.Finish(reason=generation_pb2.FINISH_REASON_STOP, stop="\n")
    fake.script = ["ab", generation_pb2.GenerateResponse(finish=ended)]
    stream = client.generate("x", max_tokens=9, stop="\n")
    assert stream.read() == "ab"
    assert (stream.finish.reason, stream.finish.stop) == ("stop", "\n")


def test_a_reason_to_finish_that_is_not_known_yet_is_its_number(client: Any, fake: FakeServer) -> None:
    ended = generation_pb2.Finish()
    ended.ParseFromString(b"\x08\x63")
    fake.script = [generation_pb2.GenerateResponse(finish=ended)]
    stream = client.generate("x", max_tokens=9)
    assert stream.read() == ""
    assert stream.finish.reason == "99"


def test_events_that_are_not_known_yet_are_passed_over(client: Any, fake: FakeServer) -> None:
    unknown = generation_pb2.GenerateResponse()
    unknown.ParseFromString(b"\x7a\x00")
    fake.script = ["a", unknown, "b", finish(generation_pb2.GenerateRequest(), 2)]
    assert client.generate("x", max_tokens=2).read() == "ab"


def test_leaving_the_block_cancels_the_call_on_the_server(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    with client.generate("x", max_tokens=9) as stream:
        for _ in stream:
            break
    assert fake.was_cancelled.wait(PATIENCE_S)
    assert stream.finish is None
    assert stream.text == "abc"


def test_an_exception_in_the_block_cancels_the_call_and_passes_through(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    stream = client.generate("x", max_tokens=9)
    with pytest.raises(ZeroDivisionError), stream:
        raise ZeroDivisionError(next(iter(stream)))
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_a_dropped_stream_is_cancelled(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    stream = client.generate("x", max_tokens=9)
    assert next(iter(stream)) == "abc"
    del stream
    gc.collect()
    assert fake.was_cancelled.wait(PATIENCE_S)


@pytest.mark.parametrize("verb", ["close", "cancel"])
def test_closing_twice_is_once_and_a_closed_stream_says_so(client: Any, fake: FakeServer, verb: str) -> None:
    fake.script = ["abc", Hang()]
    stream = client.generate("x", max_tokens=9)
    assert next(iter(stream)) == "abc"
    for _ in range(2):
        getattr(stream, verb)()
    assert fake.was_cancelled.wait(PATIENCE_S)
    for _ in range(2):
        with pytest.raises(errors.Cancelled, match="this program closed"):
            next(iter(stream))
    with pytest.raises(errors.Cancelled, match="this program closed"):
        stream.read()


def test_closing_a_complete_stream_changes_nothing(client: Any, fake: FakeServer) -> None:
    with client.generate("x", max_tokens=4) as stream:
        stream.read()
        stream.close()
    assert fake.was_completed.wait(PATIENCE_S)
    assert list(stream) == []
    assert stream.read() == "abcd"
    assert stream.finish.reason == "length"


def test_a_stream_without_a_finish_is_not_taken_for_complete(brittle: Any, fake: FakeServer) -> None:
    fake.script = ["abc"]
    stream = brittle.generate("x", max_tokens=9)
    with pytest.raises(errors.IncompleteStream, match="incomplete"):
        stream.read()
    assert stream.text == "abc"


def test_an_error_after_the_finish_does_not_undo_it(client: Any, fake: FakeServer) -> None:
    fake.script = ["ab", finish(generation_pb2.GenerateRequest(), 2), refusal("INTERNAL")]
    stream = client.generate("x", max_tokens=2)
    assert stream.read() == "ab"
    assert stream.finish is not None


def test_an_error_in_the_middle_keeps_the_text_and_is_raised_again(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", refusal("READER_STALLED", "read faster")]
    stream = client.generate("x", max_tokens=9)
    assert next(iter(stream)) == "abc"
    for _ in range(2):
        with pytest.raises(errors.ReaderStalled, match="read faster"):
            next(iter(stream))
    assert stream.text == "abc"


def test_a_deadline_ends_the_stream_on_both_sides(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    with (
        client.generate("x", max_tokens=9, timeout=2) as stream,
        pytest.raises(errors.DeadlineExceeded) as caught,
    ):
        stream.read()
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert fake.was_cancelled.wait(PATIENCE_S)
    assert 0 < (fake.deadlines_s[0] or 0) < 5


def test_a_cancel_by_the_other_side_is_told_apart(client: Any, fake: FakeServer) -> None:
    fake.script = ["abc", bare_status(1, "the proxy had enough")]
    with pytest.raises(errors.Cancelled, match="the proxy had enough"):
        client.generate("x", max_tokens=9).read()


def test_no_server_is_unreachable(connect: Callable[..., Any]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with connect(f"127.0.0.1:{reserved.getsockname()[1]}", resume=None) as client:
            with pytest.raises(errors.Unreachable):
                client.generate("x", max_tokens=1).read()
            with pytest.raises(errors.Unreachable):
                client.models()


def test_closing_the_client_ends_its_streams(fake: FakeServer, connect: Callable[..., Any]) -> None:
    fake.script = ["abc", Hang()]
    with connect(fake.target) as client:
        stream = client.generate("x", max_tokens=9)
        next(iter(stream))
    assert fake.was_cancelled.wait(PATIENCE_S)
    with pytest.raises(errors.Cancelled):
        stream.read()

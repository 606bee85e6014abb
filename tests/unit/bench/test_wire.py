import pytest

from bench.http2 import ProtocolError
from bench.wire import Event, read_response, write_chunk, write_finish, write_request
from unrolled.v1.generation_pb2 import (
    FINISH_REASON_LENGTH,
    Chunk,
    Finish,
    GenerateRequest,
    GenerateResponse,
    TokenLogprob,
    TokenLogprobs,
    Usage,
)


@pytest.mark.parametrize(("text", "position"), [("a", 1), ("x" * 127, 127), ("x" * 128, 70_000), ("née", 2**40)])
def test_a_chunk_is_read_as_protobuf_wrote_it(text: str, position: int) -> None:
    message = GenerateResponse(chunk=Chunk(text=text, position=position)).SerializeToString()

    assert read_response(message) == Event(len(text), position, False)
    assert write_chunk(text, position) == message


def test_fields_that_nobody_asked_for_are_passed_over() -> None:
    logprobs = [TokenLogprobs(chosen=TokenLogprob(token="a", logprob=-1.5))]
    message = GenerateResponse(chunk=Chunk(text="a", position=3, logprobs=logprobs)).SerializeToString()

    assert read_response(message) == Event(1, 3, False)


def test_a_finish_is_told_from_a_chunk() -> None:
    finish = Finish(reason=FINISH_REASON_LENGTH, usage=Usage(prompt_tokens=16, generated_tokens=200), position=216)

    assert read_response(GenerateResponse(finish=finish).SerializeToString()) == Event(0, 0, True)
    assert GenerateResponse.FromString(write_finish(216)).finish.position == 216


@pytest.mark.parametrize("message", [b"", b"\x0a", b"\x0a\x05\x0a", b"\x1a\x00", b"\x0a\x02\x0a\x05", b"\x0a\x01\x0d"])
def test_anything_else_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_response(message)


def test_a_request_is_what_protobuf_reads() -> None:
    request = GenerateRequest.FromString(write_request("née " * 100, 200, 2**63, model="lstm", max_chunk_tokens=1))

    assert request == GenerateRequest(prompt="née " * 100, max_tokens=200, seed=2**63, model="lstm", max_chunk_tokens=1)
    assert not GenerateRequest.FromString(write_request("a", 1, 0)).model

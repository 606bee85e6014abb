"""A target that breaks is written again and reads like one that never broke."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.writing_model import CUTS, FOREVER, LETTERS, Cut, cut_after, follow, outcome
from unrolled.v1 import bundle_pb2, generation_pb2, sequence_pb2
from unrolled_client import errors
from unrolled_client.wire.calls import WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.steps import perform


@dataclass
class Translator:
    """A server that answers a source with a text or vectors, all of it in every call."""

    chunk_sizes: list[int]
    target: str
    is_vector: bool
    cuts: list[Cut]
    asked: list[Any] = field(default_factory=list)

    def generate(
        self, request: sequence_pb2.TransduceRequest
    ) -> tuple[list[sequence_pb2.TransduceResponse], errors.UnrolledError | None]:
        self.asked.append(request)
        cut = self.cuts.pop() if self.cuts else None
        size = self.chunk_sizes[len(self.asked) % len(self.chunk_sizes)]
        messages = []
        for begin in range(0, len(self.target), size):
            piece = self.target[begin : begin + size]
            chunk = generation_pb2.Chunk(position=begin + len(piece))
            if self.is_vector:
                chunk.vectors.extend(bundle_pb2.Vector(values=[ord(letter), 0.1]) for letter in piece)
            else:
                chunk.text = piece
            messages.append(sequence_pb2.TransduceResponse(chunk=chunk))
        usage = generation_pb2.Usage(prompt_tokens=3, generated_tokens=len(self.target))
        messages.append(sequence_pb2.TransduceResponse(finish=generation_pb2.Finish(usage=usage, seed=request.seed)))
        return (messages, None) if cut is None else (messages[: cut.arriving], cut.error)


@given(
    st.text(LETTERS, max_size=9),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.booleans(),
    st.lists(CUTS, max_size=4),
)
def test_a_broken_target_is_written_again_and_passed_over_as_far_as_it_was_read(
    target: str, sizes: list[int], is_vector: bool, cuts: list[Cut]
) -> None:
    request = sequence_pb2.TransduceRequest(source=sequence_pb2.Inputs(text="abc"), seed=7)
    whole, broken = (Course(WritingCall(request), Patience(FOREVER, clock=lambda: 0.0)) for _ in range(2))
    follow(whole, Translator(sizes, target, is_vector, []))
    translator = Translator(sizes, target, is_vector, [*cuts])
    follow(broken, translator)
    assert outcome(broken) == outcome(whole)
    assert len(whole.transcript.vectors if is_vector else whole.transcript.text) == len(target)
    assert all(each == request for each in translator.asked)


@pytest.mark.parametrize("again", ["abX", "ab", "aX"])
def test_a_target_that_comes_out_otherwise_is_told(again: str) -> None:
    broke = errors.Unreachable("cut")
    request = sequence_pb2.TransduceRequest(source=sequence_pb2.Inputs(text="abc"), seed=7)
    course = Course(WritingCall(request), Patience(FOREVER, clock=lambda: 0.0))
    translators = [Translator([2], "abc", False, [replace(cut_after(2, broke))]), Translator([2], again, False, [])]
    messages, _ = translators[0].generate(request)
    for message in messages[:2]:
        course.take(message)
    assert perform(course.proceed(broke), lambda _: None).request == request
    messages, _ = translators[1].generate(request)
    for message in messages:
        course.take(message)
    assert course.transcript.error is broke
    assert isinstance(broke.__cause__, errors.FailedPrecondition)
    assert course.transcript.text == "abc"

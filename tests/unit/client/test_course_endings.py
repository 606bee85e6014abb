"""What a generation is not continued for, and what its caller is told then."""

from dataclasses import replace
from typing import Any, cast

import grpc
import pytest

from tests.unit.client.fake_server import bare_session
from tests.unit.client.writing_model import FOREVER, SESSION, Model, course_of, cut_after, follow, on_session
from unrolled.v1 import generation_pb2
from unrolled_client import errors
from unrolled_client.wire import replies
from unrolled_client.wire.calls import WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.steps import Pause, Step, perform
from unrolled_client.wire.whereabouts import Whereabouts


@pytest.mark.parametrize(
    ("opened_at", "settled_at"), [(5, 5), (None, 5), (3, 1)], ids=["behind its own", "behind", "ahead of its own"]
)
def test_a_session_that_is_not_where_its_handle_left_it_says_so(opened_at: int | None, settled_at: int) -> None:
    model = Model(history=[("a", True)] * 3)
    whereabouts = Whereabouts(opened_at)
    whereabouts.settle(settled_at)
    course = Course(WritingCall(on_session()), Patience(FOREVER), whereabouts=whereabouts)
    follow(course, model)
    assert isinstance(course.transcript.error, errors.PositionMismatch)
    assert course.transcript.error.position == 3
    assert len(model.history) == 3


def test_a_session_that_lost_more_than_this_call_holds_is_not_continued() -> None:
    broke = errors.Unreachable("cut")
    model = Model(1, history=[("a", True)] * 3, cuts=[cut_after(2, broke)])
    course = course_of(on_session(), position=3)
    model_answer = model.answer

    def forget(call: Any) -> Any:
        del model.history[2:]
        return model_answer(call)

    model.answer = forget  # type: ignore[method-assign]
    follow(course, model)
    assert course.transcript.error is broke
    assert isinstance(broke.__cause__, errors.FailedPrecondition)
    assert broke.__cause__.position == 2


def test_a_session_that_somebody_else_moved_on_is_left_alone() -> None:
    broke = errors.Unreachable("cut")
    model = Model(1, history=[("a", True)] * 20)
    course = course_of(on_session(), position=3)
    model.cuts = [replace(cut_after(0, broke), refuses=True)]
    follow(course, model)
    assert course.transcript.error is broke
    assert len(model.history) == 20


def test_what_a_caller_expected_is_not_given_up_before_the_first_piece() -> None:
    broke = errors.Draining("going")
    model = Model(1, history=[("a", True)] * 5, cuts=[replace(cut_after(0, broke), refuses=True)])
    course = course_of(on_session(expected_position=3))
    follow(course, model)
    assert course.transcript.error is broke
    assert len(model.history) == 5
    model = Model(1, history=[("a", True)] * 5)
    course = course_of(on_session(expected_position=3))
    follow(course, model)
    assert isinstance(course.transcript.error, errors.PositionMismatch)


@pytest.mark.parametrize(
    "error",
    [
        errors.DeadlineExceeded("late"),
        errors.Cancelled("cancelled"),
        errors.InvalidField("bad"),
        errors.SessionExpired("gone"),
        errors.InternalError("a defect"),
        errors.Preempted("another call"),
        errors.ReaderStalled("slow"),
        errors.SessionBusy("taken"),
        errors.QueueFull("full"),
    ],
)
def test_what_a_server_decided_is_final(error: errors.UnrolledError) -> None:
    model = Model(1, cuts=[cut_after(2, error)])
    course = course_of(generation_pb2.GenerateRequest(prompt="a", max_tokens=5))
    follow(course, model)
    assert course.transcript.error is error
    assert len(model.asked) == 1
    assert error.__cause__ is None


def test_a_refusal_while_resuming_is_told_with_the_break_as_its_cause() -> None:
    broke, gone = errors.Draining("going"), errors.SessionExpired("gone")
    course = course_of(on_session(), position=0)
    follow(course, Model(1, cuts=[cut_after(1, broke)], obstacles=[gone]))
    assert course.transcript.error is gone
    assert gone.__cause__ is broke


@pytest.mark.parametrize("obstacle", [errors.InvalidField("too long"), errors.RewindOutOfRange("too far")])
def test_a_continuation_that_is_impossible_tells_the_break(obstacle: errors.UnrolledError) -> None:
    broke = errors.Draining("going")
    course = course_of(on_session(), position=0)
    follow(course, Model(1, cuts=[cut_after(1, broke)], obstacles=[obstacle]))
    assert course.transcript.error is broke
    assert broke.__cause__ is obstacle


def test_a_full_server_is_waited_for_while_resuming() -> None:
    cuts = [replace(cut_after(0, errors.QueueFull("full", retry_after_s=1)), refuses=True)]
    cuts.append(cut_after(1, errors.Draining("going")))
    course = course_of(generation_pb2.GenerateRequest(prompt="a", max_tokens=5))
    follow(course, Model(1, cuts=cuts))
    assert course.transcript.finish is not None
    assert course.resumes == 1


def test_a_text_that_goes_on_otherwise_is_told() -> None:
    broke = errors.Unreachable("cut")
    model = Model(1)
    course = course_of(generation_pb2.GenerateRequest(prompt="a", max_tokens=1, seed=1))
    request = generation_pb2.GenerateRequest(prompt="a", max_tokens=1, seed=1)
    ((first, _), _) = model.generate(request)
    course.take(first)
    other = chr(ord(first.chunk.text) + 1)
    request.origin.CopyFrom(first.chunk.origin)
    assert perform(course.proceed(broke), lambda _: None).request == request
    course.take(generation_pb2.GenerateResponse(chunk=generation_pb2.Chunk(text=other, position=2)))
    assert course.transcript.error is broke
    assert course.transcript.text == first.chunk.text


def test_a_server_that_counts_otherwise_is_not_resumed() -> None:
    broke = errors.Unreachable("cut")
    course = course_of(generation_pb2.GenerateRequest(prompt="a", max_tokens=5))
    course.take(generation_pb2.GenerateResponse(chunk=generation_pb2.Chunk(text="b", position=7)))
    with pytest.raises(errors.Unreachable):
        perform(course.proceed(broke), lambda _: None)


def test_without_a_policy_the_request_is_sent_as_it_is_and_a_break_is_final() -> None:
    request = on_session()
    course = Course(WritingCall(request, timeout=5), None, whereabouts=Whereabouts(7))
    assert course.begin() == WritingCall(request, timeout=5)
    with pytest.raises(errors.Draining):
        perform(course.proceed(errors.Draining("going")), lambda _: None)


def test_an_unary_question_that_times_out_is_a_server_that_is_not_there() -> None:
    course = course_of(on_session())
    steps: list[Step] = []

    def take_step(step: Step) -> Any:
        steps.append(step)
        if len(steps) == 1:
            raise errors.DeadlineExceeded("slow", code=grpc.StatusCode.DEADLINE_EXCEEDED)
        return None if isinstance(step, Pause) else replies.session_info(bare_session(SESSION, position=4))

    assert course.begin() is None
    assert cast(Any, perform(course.proceed(None), take_step).request).expected_position == 4
    assert [type(step).__name__ for step in steps] == ["UnaryCall", "Pause", "UnaryCall"]

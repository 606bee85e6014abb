"""A generation that breaks anywhere, any number of times, reads like one that never broke."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.writing_model import (
    BREAKS,
    CUTS,
    FOREVER,
    LETTERS,
    MODELS,
    OBSTACLES,
    REQUESTS,
    SESSION,
    Cut,
    Model,
    course_of,
    cut_after,
    follow,
    on_session,
    outcome,
    suit,
)
from unrolled.v1 import generation_pb2
from unrolled_client import errors
from unrolled_client.wire.calls import WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.whereabouts import Whereabouts


@settings(max_examples=300)
@given(REQUESTS, st.lists(CUTS, max_size=4), MODELS, st.integers(0, 1), st.booleans())
def test_a_throw_away_stream_is_the_unbroken_one(
    request: generation_pb2.GenerateRequest, cuts: list[Cut], model: Model, resumed: int, is_prompted: bool
) -> None:
    request.resumed_tokens = resumed
    suit(request, model, is_prompted=is_prompted)
    whole, broken = course_of(request), course_of(request)
    follow(whole, model)
    follow(broken, replace(model, cuts=[*cuts]))
    assert whole.transcript.finish is not None
    assert outcome(broken) == outcome(whole)
    assert broken.resumes <= len(cuts)


@settings(max_examples=400)
@given(
    request=REQUESTS,
    cuts=st.lists(CUTS, max_size=4),
    obstacles=st.lists(OBSTACLES, max_size=2),
    model=MODELS,
    before=st.text(LETTERS, max_size=4),
    is_known=st.booleans(),
    is_prompted=st.booleans(),
)
def test_a_sessions_stream_is_the_unbroken_one_and_so_is_the_session(
    request: generation_pb2.GenerateRequest,
    cuts: list[Cut],
    obstacles: list[errors.UnrolledError],
    model: Model,
    before: str,
    is_known: bool,
    is_prompted: bool,
) -> None:
    request.session_id = SESSION
    model.history = [(letter, False) for letter in before]
    suit(request, model, is_prompted=is_prompted)
    models = [
        replace(model, history=[*model.history], asked=[]),
        replace(model, history=[*model.history], cuts=[*cuts], obstacles=[*obstacles], asked=[]),
    ]
    courses = [course_of(request, position=len(before) if is_known else None) for _ in models]
    for course, each in zip(courses, models, strict=True):
        follow(course, each)
    assert courses[0].transcript.finish is not None
    assert outcome(courses[1]) == outcome(courses[0])
    assert models[1].remembered == models[0].remembered
    assert courses[0].resumes == 0


def test_what_is_left_is_asked_for_where_the_bundle_says_the_length() -> None:
    model = Model(2, has_start=True, length=5, has_condition=True, cuts=[cut_after(1, BREAKS[0])])
    request = generation_pb2.GenerateRequest(seed=3)
    request.condition.label = "seven"
    follow(course_of(request), model)
    first, question, second = model.asked
    assert (first.max_tokens, second.max_tokens) == (0, 3)
    assert type(question).__name__ == "GetModelRequest"
    assert (len(second.prompt), second.condition.label) == (2, "seven")


@given(REQUESTS, st.integers(1, 3))
def test_a_shared_handle_that_is_behind_the_session_begins_where_that_is(
    request: generation_pb2.GenerateRequest, behind: int
) -> None:
    request.session_id = SESSION
    model = Model(history=[("a", True)] * 3)
    shared = Whereabouts()  # opened by id
    shared.settle(3 - behind)
    course = Course(WritingCall(request), Patience(FOREVER), whereabouts=shared)
    follow(course, model)
    assert course.transcript.finish is not None
    assert (course.transcript.finish.start_position, course.resumes) == (3, 0)


def test_preempting_ends_with_the_first_piece() -> None:
    model = Model(1, cuts=[cut_after(1, BREAKS[0]), replace(cut_after(0, BREAKS[0]), refuses=True)])
    follow(course_of(on_session(preempt=True, expected_position=0)), model)
    asked = [each for each in model.asked if isinstance(each, generation_pb2.GenerateRequest)]
    assert [each.preempt for each in asked] == [True, True, False]


def test_preempting_takes_the_session_as_it_finds_it_and_is_resumed_from_the_first_piece_on() -> None:
    model = Model(1, history=[("a", True)] * 5, cuts=[cut_after(1, BREAKS[0], counted=2)])
    course = course_of(on_session(preempt=True), position=3)
    follow(course, model)
    assert not model.asked[0].HasField("expected_position")
    assert course.transcript.finish is not None
    assert (course.transcript.finish.start_position, len(model.history), course.resumes) == (5, 11, 1)
    model = Model(1, cuts=[cut_after(0, BREAKS[0])])
    course = course_of(on_session(preempt=True), position=0)
    follow(course, model)
    assert course.transcript.error is BREAKS[0]
    assert len(model.asked) == 1

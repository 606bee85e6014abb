"""A generation that breaks anywhere, any number of times, reads like one that never broke."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.fake_server import bare_session
from unrolled.v1 import generation_pb2
from unrolled_client import Finish, ResumePolicy, errors
from unrolled_client.wire import replies
from unrolled_client.wire.breaks import incomplete
from unrolled_client.wire.calls import GenerateCall, UnaryCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.steps import Pause, Step, perform
from unrolled_client.wire.whereabouts import Whereabouts

LETTERS = "abcd"
SESSION = "s0"
FOREVER = ResumePolicy(max_attempts=10**6, timeout_s=1e9, connect_timeout_s=1e9)
Token = tuple[str, bool]  # a character, and whether it was generated


@dataclass(frozen=True)
class Cut:
    """How one call breaks.

    Attributes:
        refuses: before the server sees it.
        arriving: messages that arrive; the others are computed and counted, but lost.
        counted: messages that the server counts beyond those.
        forgets: the server is lost, and with it this much of what it had not stored.
        error: what the caller hears of it.
    """

    refuses: bool
    arriving: int
    counted: int
    forgets: int
    error: errors.UnrolledError


@dataclass
class Model:
    """A server in plain Python: the next character depends on all tokens, on who made them, and on the seed."""

    chunk_size: int = 2
    history: list[Token] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    obstacles: list[errors.UnrolledError] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def answer(self, call: UnaryCall[Any]) -> Any:
        has_begun = any(isinstance(each, generation_pb2.GenerateRequest) for each in self.asked)
        if self.obstacles and (has_begun or not isinstance(self.obstacles[-1], errors.SessionBusy)):
            raise self.obstacles.pop()
        self.asked.append(call.request)
        if call.method == "RewindSession":
            assert call.request.expected_position == len(self.history)
            assert call.request.position < len(self.history)
            del self.history[call.request.position :]
        return replies.session_info(bare_session(SESSION, position=len(self.history)))

    def generate(
        self, request: generation_pb2.GenerateRequest
    ) -> tuple[list[generation_pb2.GenerateResponse], errors.UnrolledError | None]:
        """Return the messages that arrive and how the call then breaks, if it does."""
        self.asked.append(request)
        cut = self.cuts.pop() if self.cuts else None
        if cut is not None and cut.refuses:
            return [], cut.error
        history = self.history if request.session_id else []
        if request.HasField("expected_position") and request.expected_position != len(history):
            return [], errors.PositionMismatch("no", position=len(history))
        assert request.max_tokens > 0
        assert request.prompt or history
        start, prompt = len(history), request.prompt
        given_count = len(prompt) - request.resumed_tokens
        history = history + [(letter, index >= given_count) for index, letter in enumerate(prompt)]
        messages, states = self._messages(request, history, start)
        sent = len(messages) if cut is None else min(cut.arriving + cut.counted, len(messages))
        if request.session_id:
            now = states[sent - 1] if sent else self.history
            forgets = 0 if cut is None or cut.arriving >= len(messages) else cut.forgets
            self.history = now[: max(len(now) - forgets, start)]
        return (messages, None) if cut is None else (messages[: min(cut.arriving, sent)], cut.error)

    def _messages(
        self, request: generation_pb2.GenerateRequest, history: list[Token], start: int
    ) -> tuple[list[generation_pb2.GenerateResponse], list[list[Token]]]:
        text, stop = self._text(request, history)
        messages, states = [], []
        for begin in range(0, len(text), self.chunk_size):
            piece = text[begin : begin + self.chunk_size]
            history = history + [(letter, True) for letter in piece]
            chunk = generation_pb2.Chunk(text=piece, position=len(history))
            messages.append(generation_pb2.GenerateResponse(chunk=chunk))
            states.append(history)
        finish = generation_pb2.Finish(
            reason=generation_pb2.FINISH_REASON_STOP if stop else generation_pb2.FINISH_REASON_LENGTH,
            stop=stop,
            usage=generation_pb2.Usage(prompt_tokens=len(request.prompt), generated_tokens=len(text)),
            seed=request.seed,
            position=len(history),
            start_position=start,
        )
        return [*messages, generation_pb2.GenerateResponse(finish=finish)], [*states, history]

    def _text(self, request: generation_pb2.GenerateRequest, history: list[Token]) -> tuple[str, str]:
        text = ""
        for _ in range(request.max_tokens):
            text += next_letter([*history, *((letter, True) for letter in text)], request.seed)
            met = max((stop for stop in request.stop if text.endswith(stop)), key=len, default="")
            if met:
                return text.removesuffix(met), met
        return text, ""


def next_letter(history: list[Token], seed: int) -> str:
    return LETTERS[hashlib.sha256(repr((history, seed)).encode()).digest()[0] % len(LETTERS)]


def follow(course: Course, model: Model) -> None:
    """Do what a stream does, with a server that answers at once."""

    def take_step(step: Step) -> Any:
        return None if isinstance(step, Pause) else model.answer(step)

    call = course.begin()
    error: errors.UnrolledError | None = None
    while not course.is_over:
        if call is None:
            try:
                call = perform(course.proceed(error), take_step)
            except errors.UnrolledError as ending:
                course.transcript.fail(ending)
                return
        messages, error = model.generate(call.request)
        for message in messages:
            course.take(message)
        error, call = error or incomplete(), None


def course_of(
    request: generation_pb2.GenerateRequest, policy: ResumePolicy = FOREVER, position: int | None = None
) -> Course:
    whereabouts = Whereabouts(position) if request.session_id else None
    return Course(GenerateCall(request), Patience(policy, clock=lambda: 0.0), whereabouts=whereabouts)


def outcome(course: Course) -> tuple[str, Finish | None]:
    return course.transcript.text, course.transcript.finish


BREAKS = [
    errors.Unreachable("cut"),
    errors.Draining("going"),
    errors.StoreUnavailable("mute", retry_after_s=0.5),
    errors.SessionMoved("elsewhere"),
    errors.IncompleteStream("short"),
]
CUTS = st.builds(
    Cut,
    refuses=st.booleans(),
    arriving=st.integers(0, 6),
    counted=st.integers(0, 3),
    forgets=st.sampled_from([0, 0, 1, 2, 5, 100]),
    error=st.sampled_from(BREAKS),
)
OBSTACLES = st.sampled_from([*BREAKS[:4], errors.SessionBusy("still"), errors.DeadlineExceeded("slow")])
REQUESTS = st.builds(
    generation_pb2.GenerateRequest,
    prompt=st.text(LETTERS, min_size=1, max_size=5),
    max_tokens=st.integers(1, 9),
    seed=st.integers(0, 50),
    stop=st.lists(st.text(LETTERS, min_size=1, max_size=2), max_size=2),
)


@settings(deadline=None)
@given(REQUESTS, st.lists(CUTS, max_size=4), st.integers(1, 4), st.integers(0, 1))
def test_a_throw_away_stream_is_the_unbroken_one(
    request: generation_pb2.GenerateRequest, cuts: list[Cut], chunk_size: int, resumed: int
) -> None:
    request.resumed_tokens = resumed
    whole, broken = course_of(request), course_of(request)
    follow(whole, Model(chunk_size))
    follow(broken, Model(chunk_size, cuts=[*cuts]))
    assert outcome(broken) == outcome(whole)
    assert broken.transcript.position == whole.transcript.position
    assert broken.resumes <= len(cuts)


@settings(deadline=None)
@given(
    request=REQUESTS,
    cuts=st.lists(CUTS, max_size=4),
    obstacles=st.lists(OBSTACLES, max_size=2),
    chunk_size=st.integers(1, 4),
    before=st.text(LETTERS, max_size=4),
    is_known=st.booleans(),
    is_prompted=st.booleans(),
)
def test_a_sessions_stream_is_the_unbroken_one_and_so_is_the_session(
    request: generation_pb2.GenerateRequest,
    cuts: list[Cut],
    obstacles: list[errors.UnrolledError],
    chunk_size: int,
    before: str,
    is_known: bool,
    is_prompted: bool,
) -> None:
    request.session_id = SESSION
    if before and not is_prompted:
        request.prompt = ""
    history = [(letter, False) for letter in before]
    models = [Model(chunk_size, [*history]), Model(chunk_size, [*history], [*cuts], [*obstacles])]
    courses = [course_of(request, position=len(before) if is_known else None) for _ in models]
    for course, model in zip(courses, models, strict=True):
        follow(course, model)
    assert outcome(courses[1]) == outcome(courses[0])
    assert models[1].history == models[0].history
    assert courses[0].resumes == 0


@given(REQUESTS, st.integers(1, 3))
def test_a_handle_that_is_behind_the_session_begins_where_that_is(
    request: generation_pb2.GenerateRequest, behind: int
) -> None:
    request.session_id = SESSION
    model = Model(history=[("a", True)] * 3)
    course = course_of(request, position=3 - behind)
    follow(course, model)
    assert course.transcript.finish is not None
    assert (course.transcript.finish.start_position, course.resumes) == (3, 0)


@pytest.mark.parametrize("is_own", [True, False])
def test_a_session_behind_its_handle_has_lost_something_and_says_so(is_own: bool) -> None:
    model = Model(history=[("a", True)] * 3)
    whereabouts = Whereabouts(5 if is_own else None)
    whereabouts.settle(5)
    course = Course(GenerateCall(on_session()), Patience(FOREVER), whereabouts=whereabouts)
    follow(course, model)
    assert isinstance(course.transcript.error, errors.PositionMismatch)
    assert course.transcript.error.position == 3
    assert len(model.history) == 3


def on_session(**fields: Any) -> generation_pb2.GenerateRequest:
    return generation_pb2.GenerateRequest(**{"session_id": SESSION, "prompt": "ab", "max_tokens": 4, **fields})


def cut_after(arriving: int, error: errors.UnrolledError, counted: int = 0) -> Cut:
    return Cut(False, arriving, counted, 0, error)


def test_a_session_that_lost_more_than_this_call_holds_is_not_continued() -> None:
    broke = errors.Unreachable("cut")
    model = Model(1, [("a", True)] * 3, [cut_after(2, broke)])
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
    model = Model(1, [("a", True)] * 20)
    course = course_of(on_session(), position=3)
    model.cuts = [replace(cut_after(0, broke), refuses=True)]
    follow(course, model)
    assert course.transcript.error is broke
    assert len(model.history) == 20


def test_what_a_caller_expected_is_not_given_up_before_the_first_piece() -> None:
    broke = errors.Draining("going")
    model = Model(1, [("a", True)] * 5, [replace(cut_after(0, broke), refuses=True)])
    course = course_of(on_session(expected_position=3))
    follow(course, model)
    assert course.transcript.error is broke
    assert len(model.history) == 5
    model = Model(1, [("a", True)] * 5)
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


def test_preempting_ends_with_the_first_piece() -> None:
    model = Model(1, cuts=[cut_after(1, BREAKS[0]), replace(cut_after(0, BREAKS[0]), refuses=True)])
    follow(course_of(on_session(preempt=True, expected_position=0)), model)
    asked = [each for each in model.asked if isinstance(each, generation_pb2.GenerateRequest)]
    assert [each.preempt for each in asked] == [True, True, False]


def test_preempting_takes_the_session_as_it_finds_it_and_is_resumed_from_the_first_piece_on() -> None:
    model = Model(1, [("a", True)] * 5, [cut_after(1, BREAKS[0], counted=2)])
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


def test_without_a_policy_the_request_is_sent_as_it_is_and_a_break_is_final() -> None:
    request = on_session()
    course = Course(GenerateCall(request, timeout=5), None, whereabouts=Whereabouts(7))
    assert course.begin() == GenerateCall(request, timeout=5)
    with pytest.raises(errors.Draining):
        perform(course.proceed(errors.Draining("going")), lambda _: None)


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def pauses(patience: Patience, clock: Clock, error: errors.UnrolledError) -> list[float]:
    found: list[float] = []
    while (pause_s := patience.pause_s(error)) is not None:
        found.append(pause_s)
        clock.now_s += pause_s
    return found


def patience_of(timeout_s: float | None = None, **bounds: Any) -> tuple[Patience, Clock]:
    clock = Clock()
    middle: Callable[[], float] = lambda: 0.5  # noqa: E731
    return Patience(ResumePolicy(**bounds), timeout_s, clock=clock, draw=middle), clock


def test_pauses_double_up_to_their_bound() -> None:
    patience, clock = patience_of(max_attempts=8)
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_progress_begins_the_bounds_anew() -> None:
    patience, clock = patience_of(max_attempts=2)
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1]
    patience.renew()
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1]


def test_a_server_that_says_when_is_obeyed_within_the_bounds() -> None:
    patience, clock = patience_of(timeout_s=100, max_attempts=10)
    assert pauses(patience, clock, errors.StoreUnavailable("", retry_after_s=9)) == [9, 9, 9]


def test_a_server_that_was_never_met_is_given_up_sooner() -> None:
    patience, clock = patience_of()
    assert sum(pauses(patience, clock, errors.Unreachable(""))) < 2
    patience, clock = patience_of()
    patience.meet()
    assert 20 < sum(pauses(patience, clock, errors.Unreachable(""))) < 30


def test_the_calls_own_time_covers_everything() -> None:
    patience, clock = patience_of(timeout_s=1)
    assert sum(pauses(patience, clock, errors.Draining(""))) < 1
    clock.now_s = 0.75
    assert patience.remaining_s() == 0.25
    clock.now_s = 7
    assert patience.remaining_s() == 0


@pytest.mark.parametrize("bounds", [{"max_attempts": -1}, {"timeout_s": float("nan")}, {"max_backoff_s": float("inf")}])
def test_a_policy_out_of_range_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bounds))):
        ResumePolicy(**bounds)


def test_an_unary_question_that_times_out_is_a_server_that_is_not_there() -> None:
    course = course_of(on_session())
    steps: list[Step] = []

    def take_step(step: Step) -> Any:
        steps.append(step)
        if len(steps) == 1:
            raise errors.DeadlineExceeded("slow", code=grpc.StatusCode.DEADLINE_EXCEEDED)
        return None if isinstance(step, Pause) else replies.session_info(bare_session(SESSION, position=4))

    assert course.begin() is None
    assert perform(course.proceed(None), take_step).request.expected_position == 4
    assert [type(step).__name__ for step in steps] == ["UnaryCall", "Pause", "UnaryCall"]

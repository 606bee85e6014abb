"""A generation that breaks anywhere, any number of times, reads like one that never broke."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.fake_server import bare_session
from unrolled.v1 import bundle_pb2, generation_pb2, model_pb2, sequence_pb2
from unrolled_client import ResumePolicy, errors
from unrolled_client.wire import manifests, replies
from unrolled_client.wire.breaks import incomplete
from unrolled_client.wire.calls import UnaryCall, WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.steps import Pause, Step, perform
from unrolled_client.wire.whereabouts import Whereabouts

LETTERS = "abcd"
SESSION = "s0"
FOREVER = ResumePolicy(max_attempts=10**6, timeout_s=1e9, connect_timeout_s=1e9)
START = "^"
Token = tuple[Any, bool]  # a character or a vector, and whether it was generated


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
    """A server in plain Python: the next character depends on all tokens, on who made them, and on the seed.

    With a start it feeds that first; with a length it writes so much where the call does not say; with a condition,
    that stands at the beginning of every history; and what it writes may be vectors.
    """

    chunk_size: int = 2
    has_start: bool = False
    length: int = 0
    has_condition: bool = False
    is_vector: bool = False
    history: list[Token] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    obstacles: list[errors.UnrolledError] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def answer(self, call: UnaryCall[Any]) -> Any:
        has_begun = any(isinstance(each, generation_pb2.GenerateRequest) for each in self.asked)
        if self.obstacles and (has_begun or not isinstance(self.obstacles[-1], errors.SessionBusy)):
            raise self.obstacles.pop()
        self.asked.append(call.request)
        if call.method == "GetModel":
            return manifests.model_info(self.describe())
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
        assert request.max_tokens or self.length
        assert request.prompt or request.prompt_vectors or history or self.has_start
        assert request.HasField("condition") == (self.has_condition and not history)
        assert not (self.is_vector and request.resumed_tokens)
        start, prompt = len(history), [*request.prompt, *(tuple(each.values) for each in request.prompt_vectors)]
        given_count = len(prompt) - request.resumed_tokens
        lead: list[Token] = [(START, False)] if self.has_start and not history else []
        history = [*history, *lead, *((each, index >= given_count) for index, each in enumerate(prompt))]
        messages, states = self._messages(request, history, start, len(lead) + len(prompt))
        sent = len(messages) if cut is None else min(cut.arriving + cut.counted, len(messages))
        if request.session_id:
            now = states[sent - 1] if sent else self.history
            forgets = 0 if cut is None or cut.arriving >= len(messages) else cut.forgets
            self.history = now[: max(len(now) - forgets, start)]
        return (messages, None) if cut is None else (messages[: min(cut.arriving, sent)], cut.error)

    @property
    def remembered(self) -> list[Any]:
        """What the state depends on: who made a vector does not matter."""
        return [each for each, _ in self.history] if self.is_vector else self.history

    def describe(self) -> model_pb2.Model:
        manifest = bundle_pb2.Manifest(feedback=bundle_pb2.Feedback(length=self.length))
        if self.has_start and not self.is_vector:
            manifest.feedback.start_token = 0
        if self.is_vector:
            manifest.input.modality = bundle_pb2.MODALITY_VECTOR
        return model_pb2.Model(manifest=manifest)

    def _messages(
        self, request: generation_pb2.GenerateRequest, history: list[Token], start: int, fed: int
    ) -> tuple[list[generation_pb2.GenerateResponse], list[list[Token]]]:
        written, stop = self._write(request, history)
        messages, states = [], []
        for begin in range(0, len(written), self.chunk_size):
            piece = written[begin : begin + self.chunk_size]
            history = history + [(each, True) for each in piece]
            chunk = generation_pb2.Chunk(position=len(history))
            if self.is_vector:
                chunk.vectors.extend(bundle_pb2.Vector(values=each) for each in piece)
            else:
                chunk.text = "".join(piece)
            chunk.activations.extend(bundle_pb2.Vector(values=[len(history)]) for _ in piece)
            messages.append(generation_pb2.GenerateResponse(chunk=chunk))
            states.append(history)
        finish = generation_pb2.Finish(
            reason=generation_pb2.FINISH_REASON_STOP if stop else generation_pb2.FINISH_REASON_LENGTH,
            stop=stop,
            usage=generation_pb2.Usage(prompt_tokens=fed, generated_tokens=len(written)),
            seed=request.seed,
            position=len(history),
            start_position=start,
        )
        return [*messages, generation_pb2.GenerateResponse(finish=finish)], [*states, history]

    def _write(self, request: generation_pb2.GenerateRequest, history: list[Token]) -> tuple[list[Any], str]:
        written: list[Any] = []
        for _ in range(request.max_tokens or self.length):
            now = [*history, *((each, True) for each in written)]
            if self.is_vector:  # a vector is fed back as it is: nobody knows who made it
                letter = next_letter([(vector, True) for vector, _ in now], 0)
                written.append((float(LETTERS.index(letter)), float(len(now))))
                continue
            written.append(next_letter(now, request.seed))
            text = "".join(written)
            met = max((stop for stop in request.stop if text.endswith(stop)), key=len, default="")
            if met:
                return [*text.removesuffix(met)], met
        return written, ""


def next_letter(history: list[Token], seed: int) -> str:
    return LETTERS[hashlib.sha256(repr((history, seed)).encode()).digest()[0] % len(LETTERS)]


def follow(course: Course, model: "Model | Translator") -> None:
    """Do what a stream does, with a server that answers at once."""

    def take_step(step: Step) -> Any:
        return None if isinstance(step, Pause) else cast(Model, model).answer(step)

    call = course.begin()
    error: errors.UnrolledError | None = None
    while not course.is_over:
        if call is None:
            try:
                call = perform(course.proceed(error), take_step)
            except errors.UnrolledError as ending:
                course.transcript.fail(ending)
                return
        messages, error = model.generate(cast(Any, call.request))
        for message in messages:
            course.take(message)
        error, call = error or incomplete(), None


def course_of(
    request: generation_pb2.GenerateRequest, policy: ResumePolicy = FOREVER, position: int | None = None
) -> Course:
    whereabouts = Whereabouts(position) if request.session_id else None
    return Course(WritingCall(request), Patience(policy, clock=lambda: 0.0), whereabouts=whereabouts)


def outcome(course: Course) -> tuple[Any, ...]:
    transcript = course.transcript
    return transcript.text, transcript.vectors, transcript.finish, transcript.position, len(transcript.activations)


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

MODELS = st.builds(
    Model,
    chunk_size=st.integers(1, 4),
    has_start=st.booleans(),
    length=st.sampled_from([0, 0, 1, 5]),
    has_condition=st.booleans(),
    is_vector=st.booleans(),
)


def suit(request: generation_pb2.GenerateRequest, model: Model, *, is_prompted: bool) -> None:
    """Make a request one that the model's bundle takes."""
    if model.is_vector:
        model.has_start = True
        request.prompt_vectors.extend(bundle_pb2.Vector(values=[float(ord(each)), 0.0]) for each in request.prompt)
        for name in ("prompt", "resumed_tokens", "stop"):
            request.ClearField(name)
    if not is_prompted and (model.has_start or model.history):
        for name in ("prompt", "prompt_vectors", "resumed_tokens"):
            request.ClearField(name)
    if model.length:
        request.max_tokens = 0
    if model.has_condition and not model.history:
        request.condition.label = "seven"


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


@pytest.mark.parametrize("is_own", [True, False])
def test_a_session_behind_its_handle_has_lost_something_and_says_so(is_own: bool) -> None:
    model = Model(history=[("a", True)] * 3)
    whereabouts = Whereabouts(5 if is_own else None)
    whereabouts.settle(5)
    course = Course(WritingCall(on_session()), Patience(FOREVER), whereabouts=whereabouts)
    follow(course, model)
    assert isinstance(course.transcript.error, errors.PositionMismatch)
    assert course.transcript.error.position == 3
    assert len(model.history) == 3


def test_a_session_that_ran_ahead_of_its_own_handle_is_not_where_that_left_it_and_says_so() -> None:
    model = Model(history=[("a", True)] * 3)
    whereabouts = Whereabouts(3)
    whereabouts.settle(1)
    course = Course(WritingCall(on_session()), Patience(FOREVER), whereabouts=whereabouts)
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


def test_without_a_policy_the_request_is_sent_as_it_is_and_a_break_is_final() -> None:
    request = on_session()
    course = Course(WritingCall(request, timeout=5), None, whereabouts=Whereabouts(7))
    assert course.begin() == WritingCall(request, timeout=5)
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
    assert cast(Any, perform(course.proceed(None), take_step).request).expected_position == 4
    assert [type(step).__name__ for step in steps] == ["UnaryCall", "Pause", "UnaryCall"]

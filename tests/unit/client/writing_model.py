"""A server that writes, in plain Python, and the streams that follow it."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import strategies as st

from tests.unit.client.fake_server import bare_session
from unrolled.v1 import bundle_pb2, generation_pb2, model_pb2
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
    has_told: bool = field(default=False, init=False)  # what its text comes from, which is to be demanded from then on

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
        assert request.HasField("origin") == self.has_told
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
        arriving = messages if cut is None else messages[: min(cut.arriving, sent)]
        self.has_told |= bool(arriving and arriving[0].HasField("chunk"))
        return arriving, None if cut is None else cut.error

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
        messages: list[generation_pb2.GenerateResponse] = []
        states: list[list[Token]] = []
        for begin in range(0, len(written), self.chunk_size):
            piece = written[begin : begin + self.chunk_size]
            history = history + [(each, True) for each in piece]
            chunk = generation_pb2.Chunk(position=len(history))
            if self.is_vector:
                chunk.vectors.extend(bundle_pb2.Vector(values=each) for each in piece)
            else:
                chunk.text = "".join(piece)
            chunk.activations.extend(bundle_pb2.Vector(values=[len(history)]) for _ in piece)
            if not messages:
                chunk.origin.model_sha256 = b"5" * 32
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


def follow(course: Course, model: Any) -> None:
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


def on_session(**fields: Any) -> generation_pb2.GenerateRequest:
    return generation_pb2.GenerateRequest(**{"session_id": SESSION, "prompt": "ab", "max_tokens": 4, **fields})


def cut_after(arriving: int, error: errors.UnrolledError, counted: int = 0) -> Cut:
    return Cut(False, arriving, counted, 0, error)

"""One generation from its request to its finish, over as many calls as that takes.

Owns what is sent next and what a message or an error means; it neither waits nor calls.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unrolled.v1 import generation_pb2, sequence_pb2
from unrolled_client.draws import draw_seed
from unrolled_client.errors import DeadlineExceeded, PositionMismatch, Unreachable, UnrolledError
from unrolled_client.models import ModelInfo
from unrolled_client.values import Chunk, Finish, ResumePolicy, SessionInfo
from unrolled_client.wire import breaks, replies, requests, session_requests
from unrolled_client.wire.calls import UnaryCall, WritingCall
from unrolled_client.wire.echo import Echo
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.resumption import Broken, Interrupted
from unrolled_client.wire.steps import Pause, Program
from unrolled_client.wire.transcript import Transcript
from unrolled_client.wire.whereabouts import Whereabouts


class Course:
    """What has been asked, what has arrived, and what follows from it.

    Attributes:
        transcript: what the caller is to see.
        resumes: how many breaks were overcome.
    """

    def __init__(
        self,
        call: WritingCall,
        patience: Patience | None = None,
        *,
        whereabouts: Whereabouts | None = None,
        ask_timeout_s: float | None = None,
    ) -> None:
        """Plan a generation.

        Args:
            call: what the caller asked for.
            patience: bounds the resuming; None: a break is final and the request is sent as it is.
            whereabouts: where the session is; None without a session.
            ask_timeout_s: seconds for each question about the session; None: no limit.
        """
        self.transcript = Transcript(whereabouts)
        self.resumes = 0
        self._call = call
        self._patience = patience
        self._whereabouts = whereabouts or Whereabouts()
        self._ask_timeout_s = ask_timeout_s
        self._start = self._known_start()
        self._floor, self._certain = self._whereabouts.floor or 0, self._whereabouts.certain
        self._break: UnrolledError | None = None
        self._overcome: UnrolledError | None = None
        self._loss: UnrolledError | None = None
        self._told: int | None = None
        self._was_broken = False
        self._was_misplaced = False
        self._lead: int | None = None
        self._echo = Echo()
        self._origin: generation_pb2.Origin | None = None

    @classmethod
    def under(
        cls,
        policy: ResumePolicy | None,
        call: WritingCall,
        whereabouts: Whereabouts | None,
        ask_timeout_s: float,
        can_move: Callable[[UnrolledError], bool] = lambda _: False,
    ) -> "Course":
        """Plan a generation that is resumed by a policy, unless the call forbids it; None: a break is final."""
        if policy is None or not call.is_resumable:
            return cls(call, whereabouts=whereabouts)
        if call.session_id is None:
            # Drawn here, since a call that breaks tells no seed.
            call = call.with_seed(draw_seed())
        patience = Patience(policy, call.timeout, can_move=can_move)
        return cls(call, patience, whereabouts=whereabouts, ask_timeout_s=ask_timeout_s)

    @property
    def is_over(self) -> bool:
        """Tell whether the generation has ended, well or badly."""
        return self.transcript.is_over

    def begin(self) -> WritingCall | None:
        """Return the first call; None where the session's position must be asked for first."""
        if self._patience is None or self._is_blind:
            self._whereabouts.depart()
            return self._call
        return None if self._start is None else self._continue_from(self._start)

    def proceed(self, error: UnrolledError | None) -> Program[WritingCall]:
        """Find the call that begins the generation, or continues it after a break.

        Args:
            error: how the last call ended; None before the first.

        Raises:
            UnrolledError: how the generation ends. It is the break where that could not be overcome, with the
                obstacle as its cause.
        """
        while True:
            if error is not None:
                yield Pause(self._pause_s(error))
            try:
                return (yield from self._approach())
            except UnrolledError as failure:
                error = failure

    def take(self, message: generation_pb2.GenerateResponse | sequence_pb2.TransduceResponse) -> Chunk | None:
        """Note a message; return what it adds, None for the finish and for events of newer servers."""
        event = message.WhichOneof("event")
        if self.is_over or event is None:
            return None
        if self._break is not None:
            self.resumes += 1
            self._overcome, self._break = self._break, None
        if event == "finish":
            if self._is_echo_of(None):
                self.transcript.complete(self._whole(replies.finish(message.finish)))
            return None
        if message.chunk.HasField("origin"):
            self._origin = message.chunk.origin
        heard = replies.chunk(message.chunk)
        if not self._is_echo_of(heard):
            return None
        chunk, self._echo = self._echo.rest_of(heard), self._echo.less(heard)
        if chunk is not None:
            self._place(chunk)
            self.transcript.add(chunk)
            if self._patience is not None:
                self._patience.renew()
        return chunk

    def close(self) -> None:
        """Note that this program stops reading."""
        self.transcript.fail(breaks.closed())

    def _known_start(self) -> int | None:
        if self._call.session_id is None:
            return 0
        if self._call.expected_position is not None:
            return self._call.expected_position
        return None if self._call.is_preempting else self._whereabouts.certain

    @property
    def _is_blind(self) -> bool:
        """Tell whether the position is unknown and cannot be asked for: what is to be preempted still moves it."""
        return self._start is None and self._call.is_preempting

    def _place(self, chunk: Chunk) -> None:
        """Learn from the first piece where the generation began, and whether the bundle has a start of its own."""
        if self.transcript.position is not None:
            return
        begun = chunk.position - chunk.count - self._call.given
        if self._start is None:
            self._start = begun
        self._lead = int(self._start == 0 and begun == 1)

    def _broken(self) -> Broken | Interrupted:
        request, text, vectors = self._call.request, self.transcript.text, self.transcript.vectors
        if isinstance(request, sequence_pb2.TransduceRequest):
            return Interrupted(request, Echo(text, vectors), self._origin)
        return Broken(request, self._start or 0, text, vectors, self._lead or 0, self._origin)

    def _continue_from(self, position: int) -> WritingCall:
        broken = self._broken()
        self._echo = broken.echo
        self._whereabouts.depart()
        timeout_s = self._call.timeout if self._patience is None else self._patience.remaining_s()
        return WritingCall(broken.continuation(position), timeout_s)

    def _approach(self) -> Program[WritingCall]:
        """Bring the session to where the generation continues."""
        session_id = self._call.session_id
        if session_id is None:
            if isinstance(self._broken(), Broken) and self._call.leaves_length and self.transcript.position is not None:
                yield from self._learn(self._call.request.model)
            return self._continue_from(0)
        if self._start is not None and self._break is None:
            return self._continue_from(self._start)
        told, self._told = self._told, None
        if told is not None and self._is_at_end(told):
            return self._continue_from(told)
        info = yield from self._locate(session_requests.get_session(session_id))
        if self._start is None:
            self._start = self._check_kept(info.position)
        is_lead_unknown = self._lead is None and self._start == 0 < info.position
        if self._break is not None and (self._call.leaves_length or is_lead_unknown):
            yield from self._learn(info.model)
        broken = self._broken()
        if isinstance(broken, Broken):
            self._check_explained(broken, info.position)
            if info.position > broken.aim:
                back = session_requests.rewind_session(info.id, broken.aim, expected_position=info.position)
                info = yield from self._locate(back)
        return self._continue_from(info.position)

    def _is_at_end(self, position: int) -> bool:
        """Tell whether a session that a server has left at a position can go on without anything being asked."""
        broken = self._broken()
        is_behind_text = isinstance(broken, Broken) and position == broken.end == broken.aim
        return is_behind_text and self.transcript.position is not None and not self._call.leaves_length

    def _learn(self, model: str) -> Program[None]:
        """Ask what the bundle alone knows: how long an answer is, and whether something is fed before it."""
        info: ModelInfo = yield from self._ask(requests.get_model(model))
        if self._call.leaves_length and info.length is not None:
            self._call = self._call.with_length(info.length)
        if self._lead is None:
            self._lead = int(info.has_start and self._start == 0)

    def _locate(self, call: UnaryCall[SessionInfo]) -> Program[SessionInfo]:
        info: SessionInfo = yield from self._ask(call)
        self._whereabouts.report(info.position)
        return info

    def _ask(self, call: UnaryCall[Any]) -> Program[Any]:
        remaining_s = None if self._patience is None else self._patience.remaining_s()
        limit_s = min((each for each in (remaining_s, self._ask_timeout_s) if each is not None), default=None)
        try:
            info = yield replace(call, timeout=limit_s, has_own_timeout=True)
        except DeadlineExceeded as error:
            if remaining_s is not None and limit_s == remaining_s:
                raise
            message = f"no answer to what has to be known to go on: {error.message}"
            raise Unreachable(message, code=error.code) from None
        if self._patience is not None:
            self._patience.meet()
        return info

    def _check_kept(self, position: int) -> int:
        """Return the position of a session that was not asked for at a certain one."""
        if position < self._floor:
            self._loss = breaks.fallen_behind(position, self._floor)
        elif self._certain is not None and position > self._certain:
            self._loss = breaks.run_ahead(position, self._certain)
        else:
            return position
        raise self._loss from self._break

    def _check_explained(self, broken: Broken, position: int) -> None:
        # Before the first piece nobody knows whether a call that was to find the session at expected_position has
        # moved it, or somebody else did.
        is_pinned = self._call.expected_position is not None and not broken.count
        if broken.explains(position) and not (is_pinned and position != broken.start):
            return
        raise breaks.unexplained(position, broken.start)

    def _pause_s(self, error: UnrolledError) -> float:
        """Return the seconds to wait before the next attempt; raise the error that the generation ends with."""
        if self._patience is None or self._is_blind or error is self._loss:
            raise error
        if self._is_misplaced(error):
            self._start = None if error.position is None else self._check_kept(error.position)
            if not self._was_misplaced:
                self._was_misplaced = True
                return 0.0
        elif isinstance(error, breaks.BREAKS if self._break is None else breaks.OBSTACLES) and self._adds_up():
            if self._break is None:
                self._break, self._told = error, error.position
            self._was_broken = True
        else:
            raise breaks.ending_of(error, self._break)
        pause_s = self._patience.pause_s(error)
        if pause_s is None:
            raise breaks.ending_of(error, self._break)
        return pause_s

    def _is_misplaced(self, error: UnrolledError) -> bool:
        """Tell whether the session was elsewhere than its handle thought, of which the caller said nothing."""
        is_untouched = self._break is None and self.transcript.position is None
        is_ours = self._call.session_id is not None and self._call.expected_position is None
        return isinstance(error, PositionMismatch) and is_untouched and is_ours

    def _adds_up(self) -> bool:
        """Tell whether the server counts as this side does."""
        return self._broken().adds_up(self.transcript.position)

    def _is_echo_of(self, chunk: Chunk | None) -> bool:
        """Tell whether what comes again, None for the end, is what the caller has; fail where it is not."""
        is_alike = self._echo.explains(chunk) if chunk is not None else not self._echo.count
        if not is_alike:
            self.transcript.fail(breaks.ending_of(breaks.diverged(self._echo, chunk), self._overcome))
        return is_alike

    def _whole(self, finish: Finish) -> Finish:
        """Return the finish of the unbroken generation."""
        broken = self._broken()
        if not self._was_broken or isinstance(broken, Interrupted):
            return finish
        return replace(
            finish,
            prompt_tokens=finish.position - broken.start - broken.count,
            generated_tokens=broken.count,
            start_position=broken.start,
        )

"""One generation from its request to its finish, over as many calls as that takes.

Owns what is sent next and what a message or an error means; it neither waits nor calls.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from unrolled.v1 import generation_pb2
from unrolled_client.draws import draw_seed
from unrolled_client.errors import DeadlineExceeded, PositionMismatch, Unreachable, UnrolledError
from unrolled_client.values import Chunk, Finish, ResumePolicy, SessionInfo
from unrolled_client.wire import breaks, replies, requests, session_requests
from unrolled_client.wire.calls import GenerateCall, UnaryCall
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.resumption import Broken
from unrolled_client.wire.steps import Pause, Program
from unrolled_client.wire.transcript import Transcript
from unrolled_client.wire.whereabouts import Whereabouts


class Course:
    """What has been asked, what has arrived, and what follows from it.

    Attributes:
        transcript: the text as the caller is to see it.
        resumes: how many breaks were overcome.
    """

    def __init__(
        self,
        call: GenerateCall,
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
        self._floor = self._whereabouts.floor or 0
        self._break: UnrolledError | None = None
        self._loss: UnrolledError | None = None
        self._was_broken = False
        self._was_misplaced = False
        self._overlap = ""

    @classmethod
    def under(
        cls,
        policy: ResumePolicy | None,
        call: GenerateCall,
        whereabouts: Whereabouts | None,
        ask_timeout_s: float,
    ) -> "Course":
        """Plan a generation that is resumed by a policy, unless the call forbids it; None: a break is final."""
        if policy is None or not call.is_resumable:
            return cls(call, whereabouts=whereabouts)
        if call.session_id is None:
            # Drawn here, since a call that breaks tells no seed.
            call = requests.with_seed(call, draw_seed())
        patience = Patience(policy, call.timeout)
        return cls(call, patience, whereabouts=whereabouts, ask_timeout_s=ask_timeout_s)

    @property
    def is_over(self) -> bool:
        """Tell whether the generation has ended, well or badly."""
        return self.transcript.is_over

    def begin(self) -> GenerateCall | None:
        """Return the first call; None where the session's position must be asked for first."""
        if self._patience is None or self._is_blind:
            self._whereabouts.depart()
            return self._call
        return None if self._start is None else self._continue_from(self._start)

    def proceed(self, error: UnrolledError | None) -> Program[GenerateCall]:
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

    def take(self, message: generation_pb2.GenerateResponse) -> Chunk | None:
        """Note a message; return its piece of text, None for the finish and for events of newer servers."""
        event = message.WhichOneof("event")
        if self.is_over or event is None:
            return None
        overcome, self._break = self._break, None
        self.resumes += overcome is not None
        if self._overlap:
            self._compare(message, overcome)
            return None
        if event == "finish":
            self.transcript.complete(self._whole(replies.finish(message.finish)))
            return None
        chunk = replies.chunk(message.chunk)
        if self._start is None:
            self._start = chunk.position - len(chunk.text) - len(self._call.request.prompt)
        self.transcript.add(chunk)
        if self._patience is not None:
            self._patience.renew()
        return chunk

    def close(self) -> None:
        """Note that this program stops reading."""
        self.transcript.fail(breaks.closed())

    def _known_start(self) -> int | None:
        request = self._call.request
        if not request.session_id:
            return 0
        if request.HasField("expected_position"):
            return request.expected_position
        return None if request.preempt else self._whereabouts.certain

    @property
    def _is_blind(self) -> bool:
        """Tell whether the position is unknown and cannot be asked for: what is to be preempted still moves it."""
        return self._start is None and self._call.request.preempt

    def _broken(self) -> Broken:
        return Broken(self._call.request, self._start or 0, self.transcript.text)

    def _continue_from(self, position: int) -> GenerateCall:
        broken = self._broken()
        self._overlap = broken.overlap
        self._whereabouts.depart()
        timeout_s = self._call.timeout if self._patience is None else self._patience.remaining_s()
        return GenerateCall(broken.continuation(position), timeout_s)

    def _approach(self) -> Program[GenerateCall]:
        """Bring the session to where the text continues."""
        if not self._call.request.session_id:
            return self._continue_from(0)
        if self._start is not None and self._break is None:
            return self._continue_from(self._start)
        info = yield from self._ask(session_requests.get_session(self._call.request.session_id))
        if self._start is None:
            self._start = self._check_kept(info.position)
        broken = self._broken()
        self._check_explained(broken, info.position)
        if info.position > broken.aim:
            back = session_requests.rewind_session(info.id, broken.aim, expected_position=info.position)
            info = yield from self._ask(back)
        return self._continue_from(info.position)

    def _ask(self, call: UnaryCall[SessionInfo]) -> Generator[Any, Any, SessionInfo]:
        remaining_s = None if self._patience is None else self._patience.remaining_s()
        limit_s = min((each for each in (remaining_s, self._ask_timeout_s) if each is not None), default=None)
        try:
            info: SessionInfo = yield replace(call, timeout=limit_s, has_own_timeout=True)
        except DeadlineExceeded as error:
            if remaining_s is not None and limit_s == remaining_s:
                raise
            raise Unreachable(f"no answer about the session: {error.message}", code=error.code) from None
        self._whereabouts.report(info.position)
        if self._patience is not None:
            self._patience.meet()
        return info

    def _check_kept(self, position: int) -> int:
        """Return the position of a session that was not asked for at a certain one."""
        if position >= self._floor:
            return position
        self._loss = breaks.fallen_behind(position, self._floor)
        raise self._loss from self._break

    def _check_explained(self, broken: Broken, position: int) -> None:
        # Before the first piece nobody knows whether a call that was to find the session at expected_position has
        # moved it, or somebody else did.
        is_pinned = self._call.request.HasField("expected_position") and not broken.text
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
            self._break = self._break or error
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
        is_ours = bool(self._call.request.session_id) and not self._call.request.HasField("expected_position")
        return isinstance(error, PositionMismatch) and is_untouched and is_ours

    def _adds_up(self) -> bool:
        """Tell whether the server counts as this side does."""
        return self.transcript.position in (None, self._broken().end)

    def _compare(self, message: generation_pb2.GenerateResponse, overcome: UnrolledError | None) -> None:
        expected, self._overlap = self._overlap, ""
        if message.chunk.text != expected:
            self.transcript.fail(breaks.ending_of(breaks.diverged(expected, message.chunk.text), overcome))

    def _whole(self, finish: Finish) -> Finish:
        """Return the finish of the unbroken generation."""
        if not self._was_broken:
            return finish
        return replace(
            finish,
            prompt_tokens=len(self._call.request.prompt),
            generated_tokens=len(self.transcript.text),
            start_position=self._start or 0,
        )

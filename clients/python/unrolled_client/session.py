"""A handle on a session, synchronous."""

import time
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from unrolled_client.answers import Classification
from unrolled_client.draws import choose_key
from unrolled_client.errors import SessionBusy
from unrolled_client.steps import Steps
from unrolled_client.stream import Stream
from unrolled_client.values import SessionInfo
from unrolled_client.wire import requests, sequence_requests, session_requests
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.feed import Given
from unrolled_client.wire.options import GenerateOptions, SessionReadingOptions
from unrolled_client.wire.whereabouts import Whereabouts

if TYPE_CHECKING:
    from unrolled_client.client import Client

Reply = TypeVar("Reply")

# A cancelled stream occupies its session until the slice in progress is over.
BUSY_DELAYS_S = tuple(0.01 * 2**n for n in range(8))


class Session:
    """A session of the server. Calls on it continue where the last one ended, one at a time.

    As a context manager it closes its open stream at exit; the session itself lives on.
    """

    def __init__(self, client: "Client", session_id: str, position: int | None = None) -> None:
        self._client = client
        self._id = session_id
        self._whereabouts = Whereabouts(position)
        self._stream: weakref.ref[Stream | Steps] | None = None

    @property
    def id(self) -> str:
        """Return the session's id."""
        return self._id

    @property
    def position(self) -> int | None:
        """Return the last position that the server reported, in tokens; None before any report.

        After a cancelled stream the session may be further: the server counts text that was under way. `info`
            asks.
        """
        return self._whereabouts.position

    def generate(
        self, prompt: str = "", *, max_tokens: int | None = None, **options: Unpack[GenerateOptions]
    ) -> Stream:
        """Feed the prompt and stream what follows.

        The call begins at once. On a session that was opened by id it begins when it is first read, with a question
        about the session's position: without that, a stream that breaks before its first piece could not be resumed.

        Args:
            prompt: text to feed first; may be empty once the session is past position 0.
            max_tokens: how many tokens or vectors to generate at most, from 1; None: the length that the bundle says.
            options: see `Client.generate`; a condition is given at position 0 and not again.
        """
        call = requests.generate(prompt, max_tokens=max_tokens, session_id=self._id, **options)
        stream = self._client._start(call, self._whereabouts)
        self._stream = weakref.ref(stream)
        return stream

    def step(self, inputs: Given, **options: Unpack[SessionReadingOptions]) -> Steps:
        """Answer every input with one output, from where the session is on.

        Args:
            inputs: as of `Client.step`. Nothing is sent a second time.
            options: activations, expected_position, preempt, priority, timeout; see
                `wire.options.SessionReadingOptions`.
        """
        steps = self._client._start_steps(
            sequence_requests.step(inputs, session_id=self._id, **options),
            self._whereabouts,
        )
        self._stream = weakref.ref(steps)
        return steps

    def classify(self, inputs: Given, **options: Unpack[SessionReadingOptions]) -> Classification:
        """Read on and return the answer to everything that the session has read.

        A call that fails leaves the session where it was, unless only its answer was lost: `info` tells.

        Args:
            inputs: as of `Client.classify`. Nothing is sent a second time.
            options: as of `step`.
        """
        call = sequence_requests.classify(inputs, session_id=self._id, **options)
        self._whereabouts.depart()
        answer = self._client._run(call)
        self._whereabouts.settle(answer.position)
        return answer

    def info(self) -> SessionInfo:
        """Ask the server for the session as it is now.

        Raises:
            SessionNotFound, SessionExpired: it is gone.
        """
        info = self._client.get_session(self._id)
        self._note(info)
        return info

    def fork(
        self,
        n: int | None = None,
        *,
        seeds: Sequence[int] | None = None,
        expected_position: int | None = None,
        idempotency_key: str | None = None,
    ) -> "list[Session]":
        """Make further sessions that begin where this one is: same history, same state.

        While a stream runs, they begin at its last delivered position.

        Args:
            n: how many, 1 to 64; None: one, or one for each seed.
            seeds: their seeds, one each; None: all keep this one's, and so continue alike unless their calls differ.
            expected_position: position that this session must have; None: any.
            idempotency_key: makes a repetition return the same sessions, for ten minutes; None draws one for this
                call.

        Raises:
            PositionMismatch: this session is elsewhere.
            SlotsExhausted: the server has no room.
        """
        forks = self._client._run(
            session_requests.fork_session(
                self._id,
                n,
                seeds=seeds,
                expected_position=expected_position,
                idempotency_key=choose_key(idempotency_key),
            )
        )
        return [Session(self._client, info.id, info.position) for info in forks]

    def rewind(self, to: int, *, preempt: bool = False, expected_position: int | None = None) -> SessionInfo:
        """Take the session back to a position it had before; what came after is forgotten.

        The text that follows is the one that would have followed then.

        Args:
            to: the position, from `rewindable_from` of `info` to the session's position now.
            preempt: stop a stream that runs on it, in place of being refused.
            expected_position: position that it must have; None: any.

        Raises:
            RewindOutOfRange: it cannot be rewound to there.
            PositionMismatch: it is not at the expected position.
            SessionBusy: a stream runs on it.
        """
        call = session_requests.rewind_session(self._id, to, preempt=preempt, expected_position=expected_position)
        info = self._run_settled(call)
        self._note(info)
        return info

    def snapshot(self, *, expected_position: int | None = None) -> bytes:
        """Return the session as portable bytes, signed by the server; the session stays.

        While a stream runs, they are those of its last delivered position. `Client.restore` makes a
        session of them.

        Args:
            expected_position: position that the session must have; None: any.

        Raises:
            PositionMismatch: it is elsewhere.
            SnapshotInvalid: nobody could import them, they are too many.
        """
        return self._client._run(session_requests.export_snapshot(self._id, expected_position=expected_position))

    def delete(self, *, preempt: bool = False, expected_position: int | None = None) -> None:
        """Cancel the handle's open stream and end the session.

        Args:
            preempt: stop a stream of somebody else that runs on it, in place of being refused.
            expected_position: position that it must have; None: any.

        Raises:
            SessionNotFound, SessionExpired: it is gone already.
            PositionMismatch: it is not at the expected position.
            SessionBusy: a stream of somebody else runs on it.
        """
        self.close()
        call = session_requests.delete_session(self._id, preempt=preempt, expected_position=expected_position)
        self._run_settled(call)

    def close(self) -> None:
        """Cancel the handle's open stream, if there is one; the session lives on."""
        stream = self._stream() if self._stream is not None else None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_settled(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call that needs a session at rest, once the handle's own stream has left it."""
        stream = self._stream() if self._stream is not None else None
        for delay_s in BUSY_DELAYS_S if stream is None or stream.is_over else ():
            try:
                return self._client._run(call)
            except SessionBusy:
                time.sleep(delay_s)
        return self._client._run(call)

    def _note(self, info: SessionInfo) -> None:
        if info.is_busy:
            self._whereabouts.report(info.position)
        else:
            self._whereabouts.settle(info.position)

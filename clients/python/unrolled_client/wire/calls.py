"""What a call is: which method, which request, how to read the reply, what a repetition of it does."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from unrolled.v1 import generation_pb2, sequence_pb2
from unrolled_client.errors import UnrolledError
from unrolled_client.values import SessionInfo
from unrolled_client.wire.feed import Feed

Reply = TypeVar("Reply")


def never_done(error: UnrolledError) -> None:
    """Say that no error of a repeated call means that an earlier attempt did its work."""


def no_sessions(_result: Any) -> tuple[SessionInfo, ...]:
    """Say that a result describes no sessions."""
    return ()


@dataclass(frozen=True)
class UnaryCall(Generic[Reply]):
    """A call with one reply.

    Attributes:
        service: "generation", "sequences", "sessions" or "models".
        method: the rpc's name.
        request: its message, or the feed of its messages.
        parse: turns the reply's message into the value for the caller.
        session_id: session that the call acts on; None for no session.
        has_own_timeout: `timeout` holds in place of the client's limit for calls.
        timeout: seconds that the call may take; None waits forever.
        is_repeatable: making the call twice does no more than making it once.
        recover: for an error of a repetition that says that an earlier attempt did the work, the call that reads
            the result; None for other errors.
        sessions: finds the sessions that a result describes.
        server: which of the client's servers is asked; None for the one that the session belongs to, or any.
    """

    service: str
    method: str
    request: Any
    parse: Callable[[Any], Reply]
    session_id: str | None = None
    has_own_timeout: bool = False
    timeout: float | None = None
    is_repeatable: bool = False
    recover: "Callable[[UnrolledError], UnaryCall[Reply] | None]" = never_done
    sessions: Callable[[Reply], Iterable[SessionInfo]] = no_sessions
    server: int | None = None

    @property
    def feed(self) -> Feed | None:
        """Return the feed of a call that sends several messages; None for one that sends one."""
        return self.request if isinstance(self.request, Feed) else None

    @property
    def key(self) -> str | None:
        """Return what a repetition of the call is known by, so that it meets the server that had it; None: nothing."""
        return self.session_id or getattr(self.request, "idempotency_key", None) or None


@dataclass(frozen=True)
class WritingCall:
    """A call that a model answers by writing: Generate or Transduce.

    Attributes:
        request: its message.
        timeout: seconds that it may take; None waits forever.
        is_resumable: it goes on after a break.
    """

    request: generation_pb2.GenerateRequest | sequence_pb2.TransduceRequest
    timeout: float | None = None
    is_resumable: bool = True

    @property
    def method(self) -> tuple[str, str]:
        """Return the service and the rpc's name."""
        return ("sequences", "Transduce") if self._generation is None else ("generation", "Generate")

    @property
    def session_id(self) -> str | None:
        """Return the session that the call acts on; None for a throw-away stream."""
        return None if self._generation is None else self._generation.session_id or None

    @property
    def key(self) -> str | None:
        """Return what decides on its server: the session."""
        return self.session_id

    @property
    def expected_position(self) -> int | None:
        """Return the position that the session must have; None: any."""
        generation = self._generation
        is_set = generation is not None and generation.HasField("expected_position")
        return generation.expected_position if generation is not None and is_set else None

    @property
    def is_preempting(self) -> bool:
        """Tell whether it stops a stream that runs on its session."""
        return self._generation is not None and self._generation.preempt

    @property
    def given(self) -> int:
        """Return how many tokens or vectors its prompt has."""
        return 0 if self._generation is None else len(self._generation.prompt) + len(self._generation.prompt_vectors)

    @property
    def leaves_length(self) -> bool:
        """Tell whether the bundle says how much is written."""
        return self.request.max_tokens == 0

    @property
    def _generation(self) -> generation_pb2.GenerateRequest | None:
        return self.request if isinstance(self.request, generation_pb2.GenerateRequest) else None

    def with_seed(self, seed: int) -> "WritingCall":
        """Return the call with this seed where it has none of its own."""
        if self.request.HasField("seed"):
            return self
        return replace(self, request=_changed(self.request, seed=seed))

    def with_length(self, max_tokens: int) -> "WritingCall":
        """Return the call with this many tokens or vectors to write at most."""
        return replace(self, request=_changed(self.request, max_tokens=max_tokens))


@dataclass(frozen=True)
class StepCall:
    """A call whose inputs are answered one by one.

    Attributes:
        feed: its messages.
        session_id: session that it acts on; None for a throw-away one.
        timeout: seconds that it may take; None waits forever.
    """

    feed: Feed
    session_id: str | None = None
    timeout: float | None = None

    @property
    def key(self) -> str | None:
        """Return what decides on its server: the session."""
        return self.session_id

    @property
    def is_repeatable(self) -> bool:
        """Tell whether making the call twice does no more than making it once, while nothing was answered."""
        return self.feed.is_repeatable and self.session_id is None


def _changed(request: Any, **fields: int) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed

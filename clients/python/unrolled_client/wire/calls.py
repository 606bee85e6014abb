"""What a call is: which method, which request, how to read the reply, what a repetition of it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unrolled.v1 import generation_pb2
from unrolled_client.errors import UnrolledError

Reply = TypeVar("Reply")


def never_done(error: UnrolledError) -> None:
    """Say that no error of a repeated call means that an earlier attempt did its work."""


@dataclass(frozen=True)
class UnaryCall(Generic[Reply]):
    """A call with one reply.

    Attributes:
        service: "generation", "sessions" or "models".
        method: the rpc's name.
        request: its message.
        parse: turns the reply's message into the value for the caller.
        session_id: session that the call acts on; None for no session.
        has_own_timeout: `timeout` holds in place of the client's limit for calls.
        timeout: seconds that the call may take; None waits forever.
        is_repeatable: making the call twice does no more than making it once.
        recover: for an error of a repetition that says that an earlier attempt did the work, the call that reads
            the result; None for other errors.
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


@dataclass(frozen=True)
class GenerateCall:
    """A Generate call: its request, its deadline in seconds (None waits forever), and whether it is resumed."""

    request: generation_pb2.GenerateRequest
    timeout: float | None = None
    is_resumable: bool = True

    @property
    def session_id(self) -> str | None:
        """Return the session that the call acts on; None for a throw-away stream."""
        return self.request.session_id or None

"""What both clients do with a call: choose its server, add what goes with every call, plan what follows a break.

It begins calls and never waits for one; `connection` and `async_connection` do.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from unrolled_client.channel import Metadata, Stubs, merge_metadata
from unrolled_client.credentials import Token, headers_of
from unrolled_client.errors import Cancelled, UnrolledError
from unrolled_client.placement import Placement
from unrolled_client.values import ResumePolicy
from unrolled_client.wire.calls import StepCall, UnaryCall, WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.feed import Feed
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.reading import Reading
from unrolled_client.wire.status import error_of
from unrolled_client.wire.whereabouts import Whereabouts


class Calling(ABC):
    """Calls of several servers.

    Args:
        targets: their addresses.
        token: shown with every call; None shows none.
        metadata, call_timeout, resume: as of `Client`.

    Attributes:
        servers: by number.
    """

    def __init__(
        self,
        targets: Sequence[str],
        token: Token | None,
        metadata: Metadata,
        call_timeout: float,
        resume: ResumePolicy | None,
    ) -> None:
        self.servers = range(len(targets))
        self._placement = Placement(targets)
        self._token = token
        self._metadata = tuple(metadata)
        self._call_timeout = call_timeout
        self._resume = resume
        self._is_closed = False

    def plan(self, call: WritingCall, whereabouts: Whereabouts | None) -> Course:
        """Plan what a model writes under this connection's policy; it begins with `start`."""
        can_move = partial(self._placement.can_move, call.key)
        return Course.under(self._resume, call, whereabouts, self._call_timeout, can_move)

    def plan_steps(self, call: StepCall, whereabouts: Whereabouts | None) -> Reading:
        """Plan a call with an answer to each input under this connection's policy; it begins with `step`."""
        return Reading(call, self._patience(call, call.timeout), whereabouts)

    def start(self, call: WritingCall) -> Any:
        """Begin a stream and return the gRPC call."""
        metadata, server = self._metadata_of(call), self._choose(call.key)
        running = self._method(server, *call.method)(call.request, timeout=call.timeout, metadata=metadata)
        self._placement.note_call(running, server)
        return running

    def step(self, call: StepCall) -> Any:
        """Begin a call with an answer to each input and return the gRPC call."""
        metadata, server = self._metadata_of(call), self._choose(call.key)
        method = self._method(server, "sequences", "Step")
        running = method(self._messages(call.feed), timeout=call.timeout, metadata=metadata)
        self._placement.note_call(running, server)
        call.feed.attach(running.cancel)
        return running

    def ask(self, call: UnaryCall[Any]) -> Any:
        """Begin a call with one reply and return it, to be waited for."""
        metadata = self._metadata_of(call)
        server = self._choose(call.key) if call.server is None else call.server
        request = call.request if call.feed is None else self._messages(call.feed)
        method = self._asking(self._method(server, call.service, call.method))
        running = method(request, timeout=self._timeout_of(call), metadata=metadata)
        self._placement.note_call(running, server)
        if call.feed is not None:
            call.feed.attach(running.cancel)
        return running

    def error_of(self, call: Any, failure: grpc.RpcError) -> UnrolledError:
        """Return the error that a failed gRPC call stands for; a server that is lost is set aside."""
        error = error_of(failure)
        self._placement.note_error(call, error)
        return error

    @abstractmethod
    def _stubs_of(self, server: int) -> Stubs:
        """Return what a server is called by."""

    @abstractmethod
    def _messages(self, feed: Feed) -> Any:
        """Return the messages of a call as gRPC takes them."""

    @abstractmethod
    def _asking(self, method: Any) -> Any:
        """Return what begins a call of a method with one reply."""

    @abstractmethod
    def _begin_probe(self, server: int) -> None:
        """Ask a lost server whether it serves again, and tell the placement what it says."""

    def _timeout_of(self, call: UnaryCall[Any]) -> float | None:
        return call.timeout if call.has_own_timeout else self._call_timeout

    def _patience(self, call: StepCall | UnaryCall[Any], timeout_s: float | None) -> Patience | None:
        if self._resume is None:
            return None
        return Patience(self._resume, timeout_s, can_move=partial(self._placement.can_move, call.key))

    def _metadata_of(self, call: WritingCall | StepCall | UnaryCall[Any]) -> Metadata:
        return merge_metadata((*self._metadata, *headers_of(self._token)), call.session_id)

    def _choose(self, key: str | None) -> int:
        self._check_open()
        chosen = self._placement.choose(key)
        for server in self._placement.begin_probes():
            self._begin_probe(server)
        return chosen

    def _method(self, server: int, service: str, method: str) -> Any:
        self._check_open()
        return getattr(getattr(self._stubs_of(server), service), method)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Cancelled("this program closed the client", code=grpc.StatusCode.CANCELLED)

"""How the synchronous client calls: the channel, its stubs, and what goes with every call. Any thread may use it."""

import time
from typing import Any, TypeVar

import grpc

from unrolled_client.channel import Metadata, Options, Stubs, merge_metadata, merge_options, resolve_target
from unrolled_client.credentials import Tls, Token, check_privacy, headers_of, resolve_token
from unrolled_client.errors import Cancelled
from unrolled_client.values import ResumePolicy
from unrolled_client.wire.calls import StepCall, UnaryCall, WritingCall
from unrolled_client.wire.course import Course
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.reading import Reading
from unrolled_client.wire.status import error_of
from unrolled_client.wire.steps import Pause, Step, perform, repeat
from unrolled_client.wire.whereabouts import Whereabouts

Reply = TypeVar("Reply")


class Connection:
    """A channel to a server; the arguments are those of `Client`."""

    def __init__(
        self,
        target: str | None,
        credentials: Tls | grpc.ChannelCredentials | None,
        metadata: Metadata,
        options: Options,
        call_timeout: float,
        resume: ResumePolicy | None,
        token: Token | None,
    ) -> None:
        merged, address = merge_options(options), resolve_target(target)
        self._token = resolve_token(token)
        check_privacy(address, self._token, credentials)
        if isinstance(credentials, Tls):
            credentials = credentials.channel_credentials()
        if credentials is None:
            self._channel = grpc.insecure_channel(address, merged)
        else:
            self._channel = grpc.secure_channel(address, credentials, merged)
        self._stubs = Stubs.on(self._channel)
        self._metadata = tuple(metadata)
        self._call_timeout = call_timeout
        self._resume = resume
        self._is_closed = False

    def plan(self, call: WritingCall, whereabouts: Whereabouts | None) -> Course:
        """Plan what a model writes under this connection's policy; it begins with `start`."""
        return Course.under(self._resume, call, whereabouts, self._call_timeout)

    def plan_steps(self, call: StepCall, whereabouts: Whereabouts | None) -> Reading:
        """Plan a call with an answer to each input under this connection's policy; it begins with `step`."""
        return Reading(call, self._patience(call.timeout), whereabouts)

    def start(self, call: WritingCall) -> Any:
        """Begin a stream and return the gRPC call."""
        metadata = self._metadata_of(call)
        return self._method(*call.method)(call.request, timeout=call.timeout, metadata=metadata)

    def step(self, call: StepCall) -> Any:
        """Begin a call with an answer to each input and return the gRPC call."""
        metadata = self._metadata_of(call)
        running = self._method("sequences", "Step")(iter(call.feed), timeout=call.timeout, metadata=metadata)
        call.feed.attach(running.cancel)
        return running

    def ask(self, call: UnaryCall[Any]) -> Any:
        """Begin a call with one reply and return its future."""
        timeout = call.timeout if call.has_own_timeout else self._call_timeout
        metadata = self._metadata_of(call)
        request = call.request if call.feed is None else iter(call.feed)
        running = self._method(call.service, call.method).future(request, timeout=timeout, metadata=metadata)
        if call.feed is not None:
            call.feed.attach(running.cancel)
        return running

    def run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call, under this connection's policy more than once, and return its result.

        Raises:
            UnrolledError: the last attempt failed.
        """
        timeout_s = call.timeout if call.has_own_timeout else self._call_timeout
        return perform(repeat(call, self._patience(timeout_s)), self._take_step)

    def close(self) -> None:
        """Close the channel; what runs is cancelled."""
        self._is_closed = True
        self._channel.close()

    def _take_step(self, step: Step) -> Any:
        match step:
            case Pause():
                return time.sleep(step.seconds)
            case UnaryCall():
                return outcome_of(self.ask(step), step)

    def _patience(self, timeout_s: float | None) -> Patience | None:
        return None if self._resume is None else Patience(self._resume, timeout_s)

    def _metadata_of(self, call: WritingCall | StepCall | UnaryCall[Any]) -> Metadata:
        return merge_metadata((*self._metadata, *headers_of(self._token)), call.session_id)

    def _method(self, service: str, method: str) -> Any:
        self._check_open()
        return getattr(getattr(self._stubs, service), method)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Cancelled("this program closed the client", code=grpc.StatusCode.CANCELLED)


def outcome_of(future: Any, call: UnaryCall[Reply]) -> Reply:
    """Wait for a call's reply and return what it says.

    Raises:
        UnrolledError: the call failed, or another thread cancelled it.
        Exception: what went wrong with its inputs, as it is.
    """
    try:
        return call.parse(future.result())
    except grpc.FutureCancelledError:
        if call.feed is not None:
            call.feed.check()
        raise Cancelled("this program cancelled the call", code=grpc.StatusCode.CANCELLED) from None
    except grpc.RpcError as failure:
        raise error_of(failure) from None

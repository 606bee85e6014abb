"""How the synchronous client calls: channels, their stubs, and what goes with every call. Any thread may use it."""

import time
from functools import partial
from typing import Any, TypeVar

import grpc

from unrolled_client.channel import (
    ANY_SERVICE,
    HEALTH_CHECK,
    PROBE_TIMEOUT_S,
    SERVING,
    Metadata,
    Options,
    Stubs,
    Target,
    merge_metadata,
    merge_options,
    resolve_targets,
)
from unrolled_client.credentials import Tls, Token, check_privacy, headers_of, resolve_token
from unrolled_client.errors import Cancelled, UnrolledError
from unrolled_client.placement import Placement
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
    """A channel to each server; the arguments are those of `Client`."""

    def __init__(
        self,
        target: Target | None,
        credentials: Tls | grpc.ChannelCredentials | None,
        metadata: Metadata,
        options: Options,
        call_timeout: float,
        resume: ResumePolicy | None,
        token: Token | None,
    ) -> None:
        self._token = resolve_token(token)
        targets = resolve_targets(target)
        self._channels = [open_channel(each, credentials, self._token, options) for each in targets]
        self._stubs = [Stubs.on(channel) for channel in self._channels]
        self._placement = Placement(targets)
        self._metadata = tuple(metadata)
        self._call_timeout = call_timeout
        self._resume = resume
        self._is_closed = False

    @property
    def servers(self) -> range:
        """Return the servers by number."""
        return range(len(self._channels))

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
        running = self._method(server, "sequences", "Step")(iter(call.feed), timeout=call.timeout, metadata=metadata)
        self._placement.note_call(running, server)
        call.feed.attach(running.cancel)
        return running

    def ask(self, call: UnaryCall[Any]) -> Any:
        """Begin a call with one reply and return its future."""
        timeout = call.timeout if call.has_own_timeout else self._call_timeout
        metadata = self._metadata_of(call)
        server = self._choose(call.key) if call.server is None else call.server
        request = call.request if call.feed is None else iter(call.feed)
        running = self._method(server, call.service, call.method).future(request, timeout=timeout, metadata=metadata)
        self._placement.note_call(running, server)
        if call.feed is not None:
            call.feed.attach(running.cancel)
        return running

    def run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call, under this connection's policy more than once, and return its result.

        Raises:
            UnrolledError: the last attempt failed.
        """
        timeout_s = call.timeout if call.has_own_timeout else self._call_timeout
        return perform(repeat(call, self._patience(call, timeout_s)), self._take_step)

    def outcome_of(self, future: Any, call: UnaryCall[Reply]) -> Reply:
        """Wait for a call's reply and return what it says.

        Raises:
            UnrolledError: the call failed, or another thread cancelled it.
            Exception: what went wrong with its inputs, as it is.
        """
        try:
            result = call.parse(future.result())
        except grpc.FutureCancelledError:
            if call.feed is not None:
                call.feed.check()
            raise Cancelled("this program cancelled the call", code=grpc.StatusCode.CANCELLED) from None
        except grpc.RpcError as failure:
            raise self.error_of(future, failure) from None
        self._placement.note_sessions(future, call.sessions(result))
        return result

    def error_of(self, call: Any, failure: grpc.RpcError) -> UnrolledError:
        """Return the error that a failed gRPC call stands for; a server that is lost is set aside."""
        error = error_of(failure)
        self._placement.note_error(call, error)
        return error

    def close(self) -> None:
        """Close the channels; what runs is cancelled."""
        self._is_closed = True
        for channel in self._channels:
            channel.close()

    def _take_step(self, step: Step) -> Any:
        match step:
            case Pause():
                return time.sleep(step.seconds)
            case UnaryCall():
                return self.outcome_of(self.ask(step), step)

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
            check = (
                self._channels[server]
                .unary_unary(HEALTH_CHECK)
                .future(ANY_SERVICE, timeout=PROBE_TIMEOUT_S, wait_for_ready=True)
            )
            check.add_done_callback(partial(self._end_probe, server))
        return chosen

    def _end_probe(self, server: int, check: Any) -> None:
        is_serving = check.code() is grpc.StatusCode.OK and check.result() == SERVING
        self._placement.end_probe(server, is_serving=is_serving)

    def _method(self, server: int, service: str, method: str) -> Any:
        self._check_open()
        return getattr(getattr(self._stubs[server], service), method)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Cancelled("this program closed the client", code=grpc.StatusCode.CANCELLED)


def open_channel(
    address: str, credentials: Tls | grpc.ChannelCredentials | None, token: Token | None, options: Options
) -> grpc.Channel:
    """Return a channel to a server to which a token may be shown.

    Raises:
        ValueError: the token would travel to another machine in clear text.
    """
    check_privacy(address, token, credentials)
    if isinstance(credentials, Tls):
        credentials = credentials.channel_credentials()
    merged = merge_options(options)
    if credentials is None:
        return grpc.insecure_channel(address, merged)
    return grpc.secure_channel(address, credentials, merged)

"""How the asynchronous client calls: channels, their stubs, and what goes with every call. On one event loop."""

import asyncio
from functools import cached_property, partial
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
from unrolled_client.wire.steps import Pause, Step, perform_async, repeat
from unrolled_client.wire.whereabouts import Whereabouts

Reply = TypeVar("Reply")


class AsyncConnection:
    """A channel to each server; the arguments are those of `AsyncClient`."""

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
        self._targets = resolve_targets(target)
        self._token = resolve_token(token)
        for each in self._targets:
            check_privacy(each, self._token, credentials)
        self._placement = Placement(self._targets)
        self._probes: set[asyncio.Task[None]] = set()
        self._credentials = credentials.channel_credentials() if isinstance(credentials, Tls) else credentials
        self._options = merge_options(options)
        self._metadata = tuple(metadata)
        self._call_timeout = call_timeout
        self._resume = resume
        self._is_closed = False

    @property
    def servers(self) -> range:
        """Return the servers by number."""
        return range(len(self._targets))

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
        running = self._method(server, "sequences", "Step")(aiter(call.feed), timeout=call.timeout, metadata=metadata)
        self._placement.note_call(running, server)
        call.feed.attach(running.cancel)
        return running

    def ask(self, call: UnaryCall[Any]) -> Any:
        """Begin a call with one reply and return it, to be awaited."""
        timeout = call.timeout if call.has_own_timeout else self._call_timeout
        metadata = self._metadata_of(call)
        server = self._choose(call.key) if call.server is None else call.server
        request = call.request if call.feed is None else aiter(call.feed)
        running = self._method(server, call.service, call.method)(request, timeout=timeout, metadata=metadata)
        self._placement.note_call(running, server)
        if call.feed is not None:
            call.feed.attach(running.cancel)
        return running

    async def run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call, under this connection's policy more than once, and return its result.

        Raises:
            UnrolledError: the last attempt failed.
        """
        timeout_s = call.timeout if call.has_own_timeout else self._call_timeout
        return await perform_async(repeat(call, self._patience(call, timeout_s)), self._take_step)

    async def outcome_of(self, running: Any, call: UnaryCall[Reply]) -> Reply:
        """Wait for a call's reply and return what it says.

        Raises:
            UnrolledError: the call failed.
            Exception: what went wrong with its inputs, as it is.
        """
        try:
            result = call.parse(await running)
        except asyncio.CancelledError:
            if call.feed is not None and not is_task_cancelled():
                call.feed.check()
            raise
        except grpc.RpcError as failure:
            raise self.error_of(running, failure) from None
        self._placement.note_sessions(running, call.sessions(result))
        return result

    def error_of(self, call: Any, failure: grpc.RpcError) -> UnrolledError:
        """Return the error that a failed gRPC call stands for; a server that is lost is set aside."""
        error = error_of(failure)
        self._placement.note_error(call, error)
        return error

    async def close(self) -> None:
        """Close the channels."""
        self._is_closed = True
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def _take_step(self, step: Step) -> Any:
        match step:
            case Pause():
                return await asyncio.sleep(step.seconds)
            case UnaryCall():
                return await self.outcome_of(self.ask(step), step)

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
            probe = asyncio.create_task(self._probe(server))
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)
        return chosen

    async def _probe(self, server: int) -> None:
        is_serving = False
        check = self._channels[server].unary_unary(HEALTH_CHECK)
        try:
            is_serving = await check(ANY_SERVICE, timeout=PROBE_TIMEOUT_S, wait_for_ready=True) == SERVING
        except grpc.RpcError:
            pass  # it is still lost
        finally:
            self._placement.end_probe(server, is_serving=is_serving)

    def _method(self, server: int, service: str, method: str) -> Any:
        self._check_open()
        return getattr(getattr(self._stubs[server], service), method)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Cancelled("this program closed the client", code=grpc.StatusCode.CANCELLED)

    @cached_property
    def _channels(self) -> list[grpc.aio.Channel]:
        # Made at first use: a channel belongs to the loop that runs then.
        if self._credentials is None:
            return [grpc.aio.insecure_channel(each, self._options) for each in self._targets]
        return [grpc.aio.secure_channel(each, self._credentials, self._options) for each in self._targets]

    @cached_property
    def _stubs(self) -> list[Stubs]:
        return [Stubs.on(channel) for channel in self._channels]


def is_task_cancelled() -> bool:
    """Tell whether the running task is being cancelled, and not only a call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

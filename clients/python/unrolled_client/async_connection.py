"""How the asynchronous client calls: its channels, and what waits for a reply. On one event loop."""

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, TypeVar

import grpc

from unrolled_client.calling import Calling
from unrolled_client.channel import (
    ANY_SERVICE,
    HEALTH_CHECK,
    PROBE_TIMEOUT_S,
    SERVING,
    Metadata,
    Options,
    Stubs,
    Target,
    merge_options,
    resolve_targets,
)
from unrolled_client.credentials import Tls, Token, check_privacy, resolve_token
from unrolled_client.values import ResumePolicy
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.feed import Feed
from unrolled_client.wire.steps import Pause, Step, perform_async, repeat

Reply = TypeVar("Reply")


class AsyncConnection(Calling):
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
        self._targets, token = resolve_targets(target), resolve_token(token)
        super().__init__(self._targets, token, metadata, call_timeout, resume)
        for each in self._targets:
            check_privacy(each, token, credentials)
        self._probes: set[asyncio.Task[None]] = set()
        self._credentials = credentials.channel_credentials() if isinstance(credentials, Tls) else credentials
        self._options = merge_options(options)

    async def run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call, under this connection's policy more than once, and return its result.

        Raises:
            UnrolledError: the last attempt failed.
        """
        return await perform_async(repeat(call, self._patience(call, self._timeout_of(call))), self._take_step)

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

    def _stubs_of(self, server: int) -> Stubs:
        return self._stubs[server]

    def _messages(self, feed: Feed) -> AsyncIterator[Any]:
        return aiter(feed)

    def _asking(self, method: Any) -> Any:
        return method

    def _begin_probe(self, server: int) -> None:
        probe = asyncio.create_task(self._probe(server))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, server: int) -> None:
        is_serving = False
        check = self._channels[server].unary_unary(HEALTH_CHECK)
        try:
            is_serving = await check(ANY_SERVICE, timeout=PROBE_TIMEOUT_S, wait_for_ready=True) == SERVING
        except grpc.RpcError:
            pass  # it is still lost
        finally:
            self._placement.end_probe(server, is_serving=is_serving)

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

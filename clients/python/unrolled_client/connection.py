"""How the synchronous client calls: its channels, and what waits for a reply. Any thread may use it."""

import time
from collections.abc import Iterator
from functools import partial
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
from unrolled_client.errors import Cancelled
from unrolled_client.values import ResumePolicy
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.feed import Feed
from unrolled_client.wire.steps import Pause, Step, perform, repeat

Reply = TypeVar("Reply")


class Connection(Calling):
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
        targets, token = resolve_targets(target), resolve_token(token)
        super().__init__(targets, token, metadata, call_timeout, resume)
        self._channels = [open_channel(each, credentials, token, options) for each in targets]
        self._stubs = [Stubs.on(channel) for channel in self._channels]

    def run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call, under this connection's policy more than once, and return its result.

        Raises:
            UnrolledError: the last attempt failed.
        """
        return perform(repeat(call, self._patience(call, self._timeout_of(call))), self._take_step)

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

    def _stubs_of(self, server: int) -> Stubs:
        return self._stubs[server]

    def _messages(self, feed: Feed) -> Iterator[Any]:
        return iter(feed)

    def _asking(self, method: Any) -> Any:
        return method.future

    def _begin_probe(self, server: int) -> None:
        ask = self._channels[server].unary_unary(HEALTH_CHECK)
        check = ask.future(ANY_SERVICE, timeout=PROBE_TIMEOUT_S, wait_for_ready=True)
        check.add_done_callback(partial(self._end_probe, server))

    def _end_probe(self, server: int, check: Any) -> None:
        is_serving = check.code() is grpc.StatusCode.OK and check.result() == SERVING
        self._placement.end_probe(server, is_serving=is_serving)


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

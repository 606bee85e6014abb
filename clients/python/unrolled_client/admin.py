"""The operator's client: what a server serves is changed while it runs."""

import os
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import duration_pb2

from unrolled.admin.v1 import admin_pb2, admin_pb2_grpc
from unrolled_client.channel import DEFAULT_CALL_TIMEOUT_S, Metadata, Options
from unrolled_client.connection import open_channel
from unrolled_client.credentials import Tls, Token, headers_of, resolve_token
from unrolled_client.operation import LoadedModel, ModelStats, ServerStats, UnloadedModel
from unrolled_client.wire.replies import seconds
from unrolled_client.wire.status import error_of

DEFAULT_ADMIN_TARGET = "127.0.0.1:50052"
ADMIN_VARIABLE = "UNROLLED_ADMIN_SERVER"


class AdminClient:
    """A connection to the admin listener of a server. Any thread may use it; a context manager that closes it.

    Every method raises an `UnrolledError` where the server refuses or does not answer; nothing is tried twice.

    Args:
        target: address of the listener, the server's setting `admin_listen`; None takes that of the environment
            variable UNROLLED_ADMIN_SERVER, or 127.0.0.1:50052.
        credentials: how to talk TLS, `Tls` or gRPC's own; None talks in clear text.
        token: bearer token to show with every call, or what returns one; None takes that of the environment variable
            UNROLLED_TOKEN, if it is set. Without TLS it is shown to this machine alone.
        metadata: (name, value) pairs that go with every call.
        options: gRPC channel options; they override the library's own.

    Raises:
        ValueError: a token would travel to another machine in clear text.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        credentials: Tls | grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        metadata: Metadata = (),
        options: Options = (),
    ) -> None:
        target = target or os.environ.get(ADMIN_VARIABLE) or DEFAULT_ADMIN_TARGET
        self._token = resolve_token(token)
        self._channel = open_channel(target, credentials, self._token, options)
        self._stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        self._metadata = tuple(metadata)

    def load(self, bundle: str, *, sha256: str = "", timeout: float | None = None) -> LoadedModel:
        """Let the server read, try and serve a bundle.

        Args:
            bundle: a path below the server's `bundles_folder`, or the name of a shipped bundle.
            sha256: identity that it must have, in lower-case hex; empty for any.
            timeout: seconds that it may take; None waits until it is done.

        Raises:
            InvalidField: the bundle is refused; the message says why. What was served goes on.
        """
        request = admin_pb2.LoadModelRequest(bundle=bundle, sha256=sha256)
        reply = self._ask(self._stub.LoadModel, request, timeout)
        return LoadedModel(_model_stats(reply.model), reply.is_new)

    def unload(
        self, model: str, *, sha256: str = "", grace_s: float | None = None, timeout: float | None = None
    ) -> UnloadedModel:
        """Let the server serve a bundle no more, and wait until its streams are over.

        Args:
            model: its name.
            sha256: which one, where several have or had the name; empty for the one that is served.
            grace_s: how long its streams may go on, 0 to 86,400 seconds; None for the server's own grace time.
            timeout: seconds that it may take; None waits until it is done.

        Raises:
            ModelNotFound: there is none.
        """
        request = admin_pb2.UnloadModelRequest(model=model, sha256=sha256)
        if grace_s is not None:
            grace = duration_pb2.Duration()
            grace.FromNanoseconds(round(grace_s * 1e9))
            request.grace.CopyFrom(grace)
        reply = self._ask(self._stub.UnloadModel, request, timeout)
        return UnloadedModel(reply.streams_ended, reply.sessions_ended, reply.is_gone)

    def drain(self, *, timeout: float | None = DEFAULT_CALL_TIMEOUT_S) -> int:
        """Let the server refuse new work, finish what runs and end; return how many streams still run."""
        return int(self._ask(self._stub.Drain, admin_pb2.DrainRequest(), timeout).streams)

    def stats(self, *, timeout: float | None = DEFAULT_CALL_TIMEOUT_S) -> ServerStats:
        """Return what the server holds."""
        reply = self._ask(self._stub.GetStats, admin_pb2.GetStatsRequest(), timeout)
        models = tuple(map(_model_stats, reply.models))
        return ServerStats(reply.version, seconds(reply.uptime), reply.is_draining, models)

    def close(self) -> None:
        """Close the connection; what runs is cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: Any, request: Any, timeout: float | None) -> Any:
        try:
            return method(request, timeout=timeout, metadata=(*self._metadata, *headers_of(self._token)))
        except grpc.RpcError as failure:
            raise error_of(failure) from None


def _model_stats(message: admin_pb2.ModelStats) -> ModelStats:
    return ModelStats(
        name=message.name,
        sha256=message.sha256,
        precision=message.precision,
        is_served=message.is_served,
        streams=message.streams,
        streams_waiting=message.streams_waiting,
        sessions=message.sessions,
        state_bytes=message.state_bytes,
    )

"""The synchronous client."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import grpc

from unrolled_client.channel import DEFAULT_CALL_TIMEOUT_S, DEFAULT_RESUME, Metadata, Options, Target
from unrolled_client.connection import Connection
from unrolled_client.credentials import Tls, Token
from unrolled_client.draws import choose_key
from unrolled_client.errors import NotFound, UnrolledError
from unrolled_client.inference import Inference
from unrolled_client.models import ModelInfo
from unrolled_client.session import Session
from unrolled_client.steps import Steps
from unrolled_client.stream import Stream
from unrolled_client.values import ResumePolicy, SessionInfo
from unrolled_client.wire import requests, session_requests
from unrolled_client.wire.calls import StepCall, UnaryCall, WritingCall
from unrolled_client.wire.whereabouts import Whereabouts

Reply = TypeVar("Reply")


class Client(Inference):
    """A connection to a server. Any thread may use it; a context manager that closes it.

    It connects at the first call and again after a break, and pings the server every 30 s while a call runs.

    Args:
        target: address of the server, "host:port" or any gRPC target; or several, as a list or separated by commas,
            over which calls are spread. None takes those of the environment variable UNROLLED_SERVER, or
            127.0.0.1:50051.
        credentials: how to talk TLS, `Tls` or gRPC's own; None talks in clear text.
        token: bearer token to show with every call, or what returns one; None takes that of the environment variable
            UNROLLED_TOKEN, if it is set. Without TLS it is shown to this machine alone.
        metadata: (name, value) pairs that go with every call.
        options: gRPC channel options; they override the library's own.
        call_timeout: seconds that every call may take except streams and scores, which have their own timeout.
        resume: bounds within which broken streams are resumed and other calls are made again where that does no harm;
            None: a break is final.

    Raises:
        ValueError: a token would travel to another machine in clear text.
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        credentials: Tls | grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        metadata: Metadata = (),
        options: Options = (),
        call_timeout: float = DEFAULT_CALL_TIMEOUT_S,
        resume: ResumePolicy | None = DEFAULT_RESUME,
    ) -> None:
        self._connection = Connection(target, credentials, metadata, options, call_timeout, resume, token)

    @contextmanager
    def session(
        self,
        *,
        model: str | None = None,
        seed: int | None = None,
        ttl_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Iterator[Session]:
        """Make a session for a `with` block and delete it at its end.

        Args:
            model: name of the bundle; None for the only one served.
            seed: seed of its draws, 0 to 2^64 - 1; None lets the server draw one.
            ttl_s: idle seconds after which it expires; None for the server's default.
            idempotency_key: makes a repetition return the same session, for ten minutes; None draws one for this
                call.
        """
        info = self.create_session(model=model, seed=seed, ttl_s=ttl_s, idempotency_key=idempotency_key)
        handle = Session(self, info.id, info.position)
        try:
            yield handle
        except BaseException:
            with suppress(UnrolledError):
                handle.delete()
            raise
        with suppress(NotFound):
            handle.delete()

    def open_session(self, session_id: str) -> Session:
        """Return a handle on an existing session without asking the server; it is not deleted at exit."""
        return Session(self, session_id)

    def create_session(
        self,
        *,
        model: str | None = None,
        seed: int | None = None,
        ttl_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> SessionInfo:
        """Make a session that lives until it is deleted or expires; the arguments are those of `session`."""
        return self._run(
            session_requests.create_session(
                model=model,
                seed=seed,
                ttl_s=ttl_s,
                idempotency_key=choose_key(idempotency_key),
            )
        )

    def get_session(self, session_id: str) -> SessionInfo:
        """Describe a session."""
        return self._run(session_requests.get_session(session_id))

    def list_sessions(self, *, page_size: int | None = None) -> Iterator[SessionInfo]:
        """Iterate over the caller's sessions in the memory of each server, oldest first, by pages of 1 to 1,000.

        One that moved from a server to another may be named by both, as each last knew it.
        """
        for server in self._connection.servers:
            page = self._run(session_requests.list_sessions(page_size, server=server))
            yield from page.sessions
            while page.next_page_token:
                page = self._run(session_requests.list_sessions(page_size, page.next_page_token, server=server))
                yield from page.sessions

    def delete_session(self, session_id: str, *, preempt: bool = False, expected_position: int | None = None) -> None:
        """End a session and free its state; the arguments are those of `Session.delete`."""
        self._run(session_requests.delete_session(session_id, preempt=preempt, expected_position=expected_position))

    def restore(
        self,
        blob: bytes,
        *,
        seed: int | None = None,
        ttl_s: float | None = None,
        accept_other_numerics: bool = False,
        idempotency_key: str | None = None,
    ) -> Session:
        """Make a session of a snapshot; it lives until it is deleted or expires.

        Args:
            blob: what `Session.snapshot` returned.
            seed: seed of its draws, 0 to 2^64 - 1; None keeps the snapshot's.
            ttl_s: idle seconds after which it expires; None for the server's default.
            accept_other_numerics: take a snapshot of a machine that rounds differently, whose text may differ from
                what would have followed there.
            idempotency_key: makes a repetition return the same session, for ten minutes; None draws one for this
                call.

        Raises:
            SnapshotInvalid: it is damaged, or no key of the server signed it.
            SnapshotMismatch: it belongs to another bundle or owner, or to a machine that rounds differently.
            SlotsExhausted: the server has no room.
        """
        info = self._run(
            session_requests.import_snapshot(
                blob,
                seed=seed,
                ttl_s=ttl_s,
                accept_other_numerics=accept_other_numerics,
                idempotency_key=choose_key(idempotency_key),
            )
        )
        return Session(self, info.id, info.position)

    def models(self) -> tuple[ModelInfo, ...]:
        """Describe all served bundles."""
        return self._run(requests.list_models())

    def model(self, name: str | None = None) -> ModelInfo:
        """Describe one bundle; without a name the only one served."""
        return self._run(requests.get_model(name))

    def close(self) -> None:
        """Close the connection; running streams are cancelled."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, call: WritingCall, whereabouts: Whereabouts | None = None) -> Stream:
        return Stream(self._connection, self._connection.plan(call, whereabouts))

    def _start_steps(self, call: StepCall, whereabouts: Whereabouts | None = None) -> Steps:
        return Steps(self._connection, self._connection.plan_steps(call, whereabouts))

    def _run(self, call: UnaryCall[Reply]) -> Reply:
        return self._connection.run(call)

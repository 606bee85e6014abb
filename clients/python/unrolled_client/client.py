"""The synchronous client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from unrolled_client.channel import (
    DEFAULT_CALL_TIMEOUT_S,
    Metadata,
    Options,
    Stubs,
    merge_metadata,
    merge_options,
    resolve_target,
)
from unrolled_client.errors import NotFound, UnrolledError
from unrolled_client.session import Session
from unrolled_client.stream import Stream
from unrolled_client.values import ModelInfo, Score, SessionInfo
from unrolled_client.wire import requests
from unrolled_client.wire.status import error_of

Reply = TypeVar("Reply")


class Client:
    """A connection to a server. Any thread may use it; a context manager that closes it.

    It connects at the first call and again after a break, and pings the server every 30 s while a call runs.

    Args:
        target: address of the server, "host:port" or any gRPC target; None takes that of the environment variable
            UNROLLED_SERVER, or 127.0.0.1:50051.
        credentials: TLS credentials; None talks in clear text.
        metadata: (name, value) pairs that go with every call.
        options: gRPC channel options; they override the library's own.
        call_timeout: seconds that every call may take except streams and scores, which have their own timeout.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        options: Options = (),
        call_timeout: float = DEFAULT_CALL_TIMEOUT_S,
    ) -> None:
        merged = merge_options(options)
        if credentials is None:
            self._channel = grpc.insecure_channel(resolve_target(target), merged)
        else:
            self._channel = grpc.secure_channel(resolve_target(target), credentials, merged)
        self._stubs = Stubs.on(self._channel)
        self._metadata = tuple(metadata)
        self._call_timeout = call_timeout

    def generate(self, prompt: str, *, max_tokens: int, **options: Unpack[requests.GenerateOptions]) -> Stream:
        """Feed the prompt to a fresh state and stream the text that follows.

        The call begins at once; its errors come out of the stream.

        Args:
            prompt: text to feed first, at least one character.
            max_tokens: how many tokens to generate at most, from 1.
            options: model, sampling (or temperature, top_k, top_p, min_p, repetition_penalty,
                presence_penalty, frequency_penalty, logit_bias), stop, seed, expected_position, logprobs and
                timeout in seconds; each None or left out takes the server's default. See
                `wire.requests.GenerateOptions`.

        Raises:
            TypeError: an option is unknown or has the wrong type.
            ValueError: a number does not fit its wire type.
        """
        return self._start(requests.generate(prompt, max_tokens=max_tokens, **options))

    @contextmanager
    def session(
        self, *, model: str | None = None, seed: int | None = None, ttl_s: float | None = None
    ) -> Iterator[Session]:
        """Make a session for a `with` block and delete it at its end.

        Args:
            model: name of the bundle; None for the only one served.
            seed: seed of its draws, 0 to 2^64 - 1; None lets the server draw one.
            ttl_s: idle seconds after which it expires; None for the server's default.
        """
        info = self.create_session(model=model, seed=seed, ttl_s=ttl_s)
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
        self, *, model: str | None = None, seed: int | None = None, ttl_s: float | None = None
    ) -> SessionInfo:
        """Make a session that lives until it is deleted or expires; the arguments are those of `session`."""
        return self._run(requests.create_session(model=model, seed=seed, ttl_s=ttl_s))

    def get_session(self, session_id: str) -> SessionInfo:
        """Describe a session."""
        return self._run(requests.get_session(session_id))

    def list_sessions(self, *, page_size: int | None = None) -> Iterator[SessionInfo]:
        """Iterate over the caller's sessions, oldest first, asking for page after page of 1 to 1,000."""
        page = self._run(requests.list_sessions(page_size))
        yield from page.sessions
        while page.next_page_token:
            page = self._run(requests.list_sessions(page_size, page.next_page_token))
            yield from page.sessions

    def delete_session(self, session_id: str) -> None:
        """End a session and free its state."""
        self._run(requests.delete_session(session_id))

    def score(
        self,
        text: str,
        *,
        model: str | None = None,
        logprobs: int | None = None,
        per_token: bool = False,
        timeout: float | None = None,
    ) -> Score:
        """Say how likely the model finds a text.

        Args:
            text: at least two tokens; the first is given, the others are predicted.
            model: name of the bundle; None for the only one served.
            logprobs: how many of the most probable tokens to describe beside each one, at most 20; needs
                per_token.
            per_token: describe every token; the text may then have at most 8,192.
            timeout: seconds that it may take; None waits: a long text takes a step of the model for each token.
        """
        return self._run(requests.score(text, model=model, logprobs=logprobs, per_token=per_token, timeout=timeout))

    def models(self) -> tuple[ModelInfo, ...]:
        """Describe all served bundles."""
        return self._run(requests.list_models())

    def model(self, name: str | None = None) -> ModelInfo:
        """Describe one bundle; without a name the only one served."""
        return self._run(requests.get_model(name))

    def close(self) -> None:
        """Close the connection; running streams are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, call: requests.GenerateCall, on_position: Callable[[int], None] | None = None) -> Stream:
        metadata = merge_metadata(self._metadata, call.session_id)
        return Stream(
            self._stubs.generation.Generate(call.request, timeout=call.timeout, metadata=metadata),
            on_position,
        )

    def _run(self, call: requests.UnaryCall[Reply]) -> Reply:
        method = getattr(getattr(self._stubs, call.service), call.method)
        timeout = call.timeout if call.has_own_timeout else self._call_timeout
        metadata = merge_metadata(self._metadata, call.session_id)
        try:
            return call.parse(method(call.request, timeout=timeout, metadata=metadata))
        except grpc.RpcError as failure:
            raise error_of(failure) from None

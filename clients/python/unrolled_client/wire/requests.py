"""Builds every call: which method, which request, how to read the reply.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf import duration_pb2

from unrolled.v1 import generation_pb2, model_pb2, session_pb2
from unrolled_client.values import ModelInfo, Sampling, Score, SessionInfo
from unrolled_client.wire import replies

Reply = TypeVar("Reply")


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
    """

    service: str
    method: str
    request: Any
    parse: Callable[[Any], Reply]
    session_id: str | None = None
    has_own_timeout: bool = False
    timeout: float | None = None


@dataclass(frozen=True)
class GenerateCall:
    """A Generate call: its request and its deadline in seconds (None waits forever)."""

    request: generation_pb2.GenerateRequest
    timeout: float | None = None

    @property
    def session_id(self) -> str | None:
        """Return the session that the call acts on; None for a throw-away stream."""
        return self.request.session_id or None


class GenerateOptions(TypedDict, total=False):
    """The optional keywords of every generate method; None is the same as not given.

    model: name of the bundle; may be left out while one is served, or on a session.
    sampling: the choices below as one value; a choice given beside it wins.
    temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias: see
        Sampling.
    stop: texts that end the generation and are not part of it, at most 8 of 1 to 64 characters.
    seed: seed of the draws, 0 to 2^64 - 1; the server draws one otherwise and says it in the finish.
    expected_position: position that the session must have for the call to act.
    logprobs: how many of the most probable tokens to describe beside each chosen one, at most 20.
    resumed_tokens: how many tokens at the end of the prompt a call that broke off had generated.
    max_chunk_tokens: most tokens that a piece carries; 1 gives each character by itself, at the price of throughput.
    timeout: seconds that the whole stream may take; unlimited otherwise.
    """

    model: str | None
    sampling: Sampling | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    stop: str | Sequence[str] | None
    seed: int | None
    expected_position: int | None
    logprobs: int | None
    resumed_tokens: int | None
    max_chunk_tokens: int | None
    timeout: float | None


def generate(
    prompt: str,
    *,
    max_tokens: int,
    session_id: str | None = None,
    model: str | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    expected_position: int | None = None,
    logprobs: int | None = None,
    resumed_tokens: int | None = None,
    max_chunk_tokens: int | None = None,
    timeout: float | None = None,
    **choices: Any,
) -> GenerateCall:
    """Build a Generate call; the keywords are described in GenerateOptions.

    Raises:
        TypeError: a keyword is unknown or a value has the wrong type.
        ValueError: a number does not fit its wire type, or a text is not valid Unicode.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    chosen = {
        name: value for name, value in asdict(replace(sampling or Sampling(), **given)).items() if value is not None
    }
    return GenerateCall(
        request=generation_pb2.GenerateRequest(
            model=model,
            session_id=session_id,
            prompt=prompt,
            max_tokens=max_tokens,
            sampling=generation_pb2.Sampling(**chosen) if chosen else None,
            stop=(stop,) if isinstance(stop, str) else stop,
            seed=seed,
            logprobs=logprobs,
            expected_position=expected_position,
            resumed_tokens=resumed_tokens,
            max_chunk_tokens=max_chunk_tokens,
        ),
        timeout=timeout,
    )


def score(
    text: str,
    *,
    model: str | None = None,
    logprobs: int | None = None,
    per_token: bool = False,
    timeout: float | None = None,
) -> UnaryCall[Score]:
    """Build a Score call; logprobs describes so many of the most probable tokens beside each one of the text."""
    request = generation_pb2.ScoreRequest(model=model, text=text, logprobs=logprobs, per_token=per_token)
    return UnaryCall("generation", "Score", request, replies.score, has_own_timeout=True, timeout=timeout)


def create_session(
    *, model: str | None = None, seed: int | None = None, ttl_s: float | None = None
) -> UnaryCall[SessionInfo]:
    """Build a CreateSession call; ttl_s is the idle time in seconds after which the session expires."""
    ttl = None
    if ttl_s is not None:
        ttl = duration_pb2.Duration()
        ttl.FromNanoseconds(round(ttl_s * 1e9))
    request = session_pb2.CreateSessionRequest(model=model, seed=seed, ttl=ttl)
    return UnaryCall("sessions", "CreateSession", request, lambda reply: replies.session_info(reply.session))


def get_session(session_id: str) -> UnaryCall[SessionInfo]:
    """Build a GetSession call."""
    request = session_pb2.GetSessionRequest(session_id=session_id)
    return UnaryCall("sessions", "GetSession", request, lambda reply: replies.session_info(reply.session), session_id)


def list_sessions(page_size: int | None = None, page_token: str = "") -> UnaryCall[replies.SessionPage]:
    """Build a ListSessions call for one page; page_token is empty for the first."""
    request = session_pb2.ListSessionsRequest(page_size=page_size, page_token=page_token)
    return UnaryCall("sessions", "ListSessions", request, replies.session_page)


def delete_session(session_id: str) -> UnaryCall[None]:
    """Build a DeleteSession call."""
    request = session_pb2.DeleteSessionRequest(session_id=session_id)
    return UnaryCall("sessions", "DeleteSession", request, lambda _: None, session_id)


def list_models() -> UnaryCall[tuple[ModelInfo, ...]]:
    """Build a ListModels call."""
    return UnaryCall("models", "ListModels", model_pb2.ListModelsRequest(), replies.model_infos)


def get_model(name: str | None = None) -> UnaryCall[ModelInfo]:
    """Build a GetModel call; without a name it asks for the only bundle served."""
    request = model_pb2.GetModelRequest(model=name)
    return UnaryCall("models", "GetModel", request, lambda reply: replies.model_info(reply.model))

"""Builds every call: which method, which request, how to read the reply.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf import duration_pb2

from unrolled.v1 import generation_pb2, model_pb2, session_pb2
from unrolled_client.errors import PositionMismatch, UnrolledError
from unrolled_client.values import ModelInfo, Sampling, Score, SessionInfo
from unrolled_client.wire import replies

Reply = TypeVar("Reply")


def never_done(error: UnrolledError) -> None:
    """Say that no error of a repeated call means that an earlier attempt did its work."""


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
        is_repeatable: making the call twice does no more than making it once.
        recover: for an error of a repetition that says that an earlier attempt did the work, the call that reads
            the result; None for other errors.
    """

    service: str
    method: str
    request: Any
    parse: Callable[[Any], Reply]
    session_id: str | None = None
    has_own_timeout: bool = False
    timeout: float | None = None
    is_repeatable: bool = False
    recover: "Callable[[UnrolledError], UnaryCall[Reply] | None]" = never_done


@dataclass(frozen=True)
class GenerateCall:
    """A Generate call: its request, its deadline in seconds (None waits forever), and whether it is resumed."""

    request: generation_pb2.GenerateRequest
    timeout: float | None = None
    is_resumable: bool = True

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
    seed: seed of the draws, 0 to 2^64 - 1; otherwise the session's, or one drawn for the call. The finish says it.
    expected_position: position that the session must have for the call to act.
    logprobs: how many of the most probable tokens to describe beside each chosen one, at most 20.
    resumed_tokens: how many tokens at the end of the prompt a call that broke off had generated.
    max_chunk_tokens: most tokens that a piece carries; 1 gives each character by itself, at the price of throughput.
    preempt: stop a stream that runs on the session, in place of being refused.
    resume: False makes a break of the stream final; otherwise the client's policy holds.
    timeout: seconds that the whole stream may take with all its resuming; unlimited otherwise.
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
    preempt: bool | None
    resume: bool | None
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
    preempt: bool | None = None,
    resume: bool | None = None,
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
            preempt=bool(preempt),
        ),
        timeout=timeout,
        is_resumable=resume is not False,
    )


def with_seed(call: GenerateCall, seed: int) -> GenerateCall:
    """Return a call with this seed where it has none of its own."""
    if call.request.HasField("seed"):
        return call
    seeded = generation_pb2.GenerateRequest(seed=seed)
    seeded.MergeFrom(call.request)
    return replace(call, request=seeded)


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
    return UnaryCall(
        "generation", "Score", request, replies.score, has_own_timeout=True, timeout=timeout, is_repeatable=True
    )


def create_session(
    *, model: str | None = None, seed: int | None = None, ttl_s: float | None = None, idempotency_key: str = ""
) -> UnaryCall[SessionInfo]:
    """Build a CreateSession call; ttl_s is the idle time in seconds after which the session expires."""
    request = session_pb2.CreateSessionRequest(
        model=model, seed=seed, ttl=_duration(ttl_s), idempotency_key=idempotency_key
    )
    return UnaryCall("sessions", "CreateSession", request, _session, is_repeatable=bool(idempotency_key))


def get_session(session_id: str) -> UnaryCall[SessionInfo]:
    """Build a GetSession call."""
    request = session_pb2.GetSessionRequest(session_id=session_id)
    return UnaryCall("sessions", "GetSession", request, _session, session_id, is_repeatable=True)


def list_sessions(page_size: int | None = None, page_token: str = "") -> UnaryCall[replies.SessionPage]:
    """Build a ListSessions call for one page; page_token is empty for the first."""
    request = session_pb2.ListSessionsRequest(page_size=page_size, page_token=page_token)
    return UnaryCall("sessions", "ListSessions", request, replies.session_page, is_repeatable=True)


def delete_session(session_id: str, *, expected_position: int | None = None, preempt: bool = False) -> UnaryCall[None]:
    """Build a DeleteSession call; it is not repeatable: the second one finds no session."""
    request = session_pb2.DeleteSessionRequest(
        session_id=session_id, expected_position=expected_position, preempt=preempt
    )
    return UnaryCall("sessions", "DeleteSession", request, lambda _: None, session_id)


def fork_session(
    session_id: str,
    count: int | None = None,
    *,
    seeds: Sequence[int] | None = None,
    expected_position: int | None = None,
    idempotency_key: str = "",
) -> UnaryCall[tuple[SessionInfo, ...]]:
    """Build a ForkSession call; without a count it makes one session for each seed, or one."""
    request = session_pb2.ForkSessionRequest(
        session_id=session_id,
        count=len(seeds or ()) if count is None else count,
        seeds=seeds,
        expected_position=expected_position,
        idempotency_key=idempotency_key,
    )
    return UnaryCall("sessions", "ForkSession", request, replies.forks, session_id, is_repeatable=bool(idempotency_key))


def rewind_session(
    session_id: str, position: int, *, expected_position: int | None = None, preempt: bool = False
) -> UnaryCall[SessionInfo]:
    """Build a RewindSession call. A repetition that finds the session at the position already is content with it."""

    def describe_rewound(error: UnrolledError) -> UnaryCall[SessionInfo] | None:
        is_there = isinstance(error, PositionMismatch) and error.position == position
        return get_session(session_id) if is_there else None

    request = session_pb2.RewindSessionRequest(
        session_id=session_id, position=position, expected_position=expected_position, preempt=preempt
    )
    return UnaryCall(
        "sessions",
        "RewindSession",
        request,
        _session,
        session_id,
        is_repeatable=expected_position is not None,
        recover=describe_rewound,
    )


def export_snapshot(session_id: str, *, expected_position: int | None = None) -> UnaryCall[bytes]:
    """Build an ExportSnapshot call."""
    request = session_pb2.ExportSnapshotRequest(session_id=session_id, expected_position=expected_position)
    return UnaryCall("sessions", "ExportSnapshot", request, replies.snapshot, session_id, is_repeatable=True)


def import_snapshot(
    snapshot: bytes,
    *,
    seed: int | None = None,
    ttl_s: float | None = None,
    accept_other_numerics: bool = False,
    idempotency_key: str = "",
) -> UnaryCall[SessionInfo]:
    """Build an ImportSnapshot call; the arguments are those of `Client.restore`."""
    request = session_pb2.ImportSnapshotRequest(
        snapshot=snapshot,
        seed=seed,
        ttl=_duration(ttl_s),
        idempotency_key=idempotency_key,
        accept_other_numerics=accept_other_numerics,
    )
    return UnaryCall("sessions", "ImportSnapshot", request, _session, is_repeatable=bool(idempotency_key))


def list_models() -> UnaryCall[tuple[ModelInfo, ...]]:
    """Build a ListModels call."""
    request = model_pb2.ListModelsRequest()
    return UnaryCall("models", "ListModels", request, replies.model_infos, is_repeatable=True)


def get_model(name: str | None = None) -> UnaryCall[ModelInfo]:
    """Build a GetModel call; without a name it asks for the only bundle served."""
    request = model_pb2.GetModelRequest(model=name)
    return UnaryCall("models", "GetModel", request, lambda reply: replies.model_info(reply.model), is_repeatable=True)


def _session(reply: Any) -> SessionInfo:
    return replies.session_info(reply.session)


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration

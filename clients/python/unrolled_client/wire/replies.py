"""Turns reply messages into values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from types import MappingProxyType
from typing import Any

from google.protobuf import duration_pb2

from unrolled.v1 import bundle_pb2, generation_pb2, sequence_pb2, session_pb2
from unrolled_client.answers import Classification, Output, Vector
from unrolled_client.values import Chunk, Finish, Score, SessionInfo, TokenLogprob, TokenLogprobs

_PREFIXES = MappingProxyType(
    {
        "FinishReason": "FINISH_REASON_",
        "Modality": "MODALITY_",
        "SessionTier": "SESSION_TIER_",
        "Task": "TASK_",
    }
)


@dataclass(frozen=True)
class SessionPage:
    """A page of sessions, and the token of the next one (empty: this was the last)."""

    sessions: tuple[SessionInfo, ...]
    next_page_token: str


def chunk(message: generation_pb2.Chunk) -> Chunk:
    """Read a piece of what is generated."""
    return Chunk(
        text=message.text,
        position=message.position,
        logprobs=_logprobs(message.logprobs),
        vectors=vectors(message.vectors),
        activations=vectors(message.activations),
    )


def vectors(messages: Iterable[bundle_pb2.Vector]) -> tuple[Vector, ...]:
    """Read vectors."""
    return tuple(tuple(message.values) for message in messages)


def output(message: sequence_pb2.Output) -> Output:
    """Read the answer to one input."""
    return Output(
        label=message.label,
        probabilities=tuple(message.probabilities),
        values=tuple(message.values),
        activations=tuple(message.activations),
    )


def classification(message: sequence_pb2.ClassifyResponse) -> Classification:
    """Read the answer to a sequence."""
    return Classification(output(message.output), message.inputs, message.position)


def score(message: generation_pb2.ScoreResponse) -> Score:
    """Read the score of a text."""
    return Score(
        logprob=message.logprob,
        tokens=message.tokens,
        nats_per_token=message.nats_per_token,
        bits_per_token=message.bits_per_token,
        logprobs=_logprobs(message.logprobs),
        activations=vectors(message.activations),
    )


def finish(message: generation_pb2.Finish) -> Finish:
    """Read the end of a generation."""
    return Finish(
        reason=name_of(generation_pb2.FinishReason, message.reason),
        stop=message.stop or None,
        prompt_tokens=message.usage.prompt_tokens,
        generated_tokens=message.usage.generated_tokens,
        seed=message.seed,
        position=message.position,
        start_position=message.start_position,
        queue_s=seconds(message.timings.queue),
        first_token_s=seconds(message.timings.first_token),
        total_s=seconds(message.timings.total),
    )


def session_info(message: session_pb2.Session) -> SessionInfo:
    """Read the description of a session."""
    return SessionInfo(
        id=message.id,
        model=message.model,
        seed=message.seed,
        position=message.position,
        is_busy=message.busy,
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        expire_time=message.expire_time.ToDatetime(tzinfo=UTC),
        rewindable_from=message.rewindable_from,
        tier=name_of(session_pb2.SessionTier, message.tier),
        is_stored=message.stored,
    )


def forks(message: session_pb2.ForkSessionResponse) -> tuple[SessionInfo, ...]:
    """Read the descriptions of copies."""
    return tuple(map(session_info, message.sessions))


def snapshot(message: session_pb2.ExportSnapshotResponse) -> bytes:
    """Read a session as bytes."""
    return message.snapshot


def session_page(message: session_pb2.ListSessionsResponse) -> SessionPage:
    """Read one page of sessions."""
    return SessionPage(tuple(map(session_info, message.sessions)), message.next_page_token)


def seconds(duration: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def name_of(enum: Any, number: int) -> str:
    """Return a value's name in lower case without the enum's; the number as text where a newer server made it up."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return str(number)
    return str(value.name).removeprefix(_PREFIXES[enum.DESCRIPTOR.name]).lower()


def _logprobs(messages: Iterable[generation_pb2.TokenLogprobs]) -> tuple[TokenLogprobs, ...]:
    return tuple(
        TokenLogprobs(
            chosen=TokenLogprob(entry.chosen.token, entry.chosen.logprob),
            top=tuple(TokenLogprob(one.token, one.logprob) for one in entry.top),
        )
        for entry in messages
    )

"""Turns reply messages into values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from types import MappingProxyType
from typing import Any

from google.protobuf import duration_pb2

from unrolled.v1 import generation_pb2, model_pb2, session_pb2
from unrolled_client.values import Chunk, Finish, ModelInfo, Score, SessionInfo, TokenLogprob, TokenLogprobs

_PREFIXES = MappingProxyType({"FinishReason": "FINISH_REASON_", "SessionTier": "SESSION_TIER_"})


@dataclass(frozen=True)
class SessionPage:
    """A page of sessions, and the token of the next one (empty: this was the last)."""

    sessions: tuple[SessionInfo, ...]
    next_page_token: str


def chunk(message: generation_pb2.Chunk) -> Chunk:
    """Read a piece of text."""
    return Chunk(text=message.text, position=message.position, logprobs=_logprobs(message.logprobs))


def score(message: generation_pb2.ScoreResponse) -> Score:
    """Read the score of a text."""
    return Score(
        logprob=message.logprob,
        tokens=message.tokens,
        nats_per_token=message.nats_per_token,
        bits_per_token=message.bits_per_token,
        logprobs=_logprobs(message.logprobs),
    )


def finish(message: generation_pb2.Finish) -> Finish:
    """Read the end of a generation."""
    return Finish(
        reason=_name(generation_pb2.FinishReason, message.reason),
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
        tier=_name(session_pb2.SessionTier, message.tier),
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


def model_info(message: model_pb2.Model) -> ModelInfo:
    """Read the description of a bundle."""
    manifest = message.manifest
    return ModelInfo(
        name=manifest.name,
        sha256=message.sha256,
        description=manifest.description,
        cell=manifest.architecture.cell,
        layers=manifest.architecture.layers,
        hidden_size=manifest.architecture.hidden_size,
        embedding_size=manifest.architecture.embedding_size,
        parameters=manifest.architecture.parameters,
        vocabulary=tuple(manifest.vocabulary),
        nats_per_char=manifest.evaluation.nats_per_char if manifest.HasField("evaluation") else None,
    )


def model_infos(message: model_pb2.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Read the descriptions of all bundles."""
    return tuple(map(model_info, message.models))


def seconds(duration: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def _logprobs(messages: Iterable[generation_pb2.TokenLogprobs]) -> tuple[TokenLogprobs, ...]:
    return tuple(
        TokenLogprobs(
            chosen=TokenLogprob(entry.chosen.token, entry.chosen.logprob),
            top=tuple(TokenLogprob(one.token, one.logprob) for one in entry.top),
        )
        for entry in messages
    )


def _name(enum: Any, number: int) -> str:
    """Return a value's name in lower case without the enum's; the number as text where a newer server made it up."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return str(number)
    return str(value.name).removeprefix(_PREFIXES[enum.DESCRIPTOR.name]).lower()

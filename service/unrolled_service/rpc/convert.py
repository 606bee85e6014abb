"""Protobuf messages to checked values, and values to messages.

Every number, text and list of a request is checked here against its documented bound; a refusal names
the field as it is written in the proto.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1 import session_pb2 as sessions_wire
from unrolled.v1.bundle_pb2 import Vector
from unrolled.v1.session_pb2 import Session as SessionMessage
from unrolled_service.bridge.outbox import Parcel
from unrolled_service.errors import InvalidField, SnapshotInvalid
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.models.vocabulary import Vocabulary
from unrolled_service.rows.delivery import Answer, Described, Item
from unrolled_service.rows.finish import Finish, FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.scoring import Score, Scoring
from unrolled_service.rpc.fields import (
    MAX_INPUTS,
    read_activations,
    read_chunk_limit,
    read_condition,
    read_duration,
    read_optional,
    read_session_id,
    read_vectors,
)
from unrolled_service.sessions.session import SessionInfo, Tier
from unrolled_service.settings import Settings

MAX_STOPS = 8
MAX_STOP_LENGTH = 64
MAX_IDEMPOTENCY_KEY_LENGTH = 64
MAX_FORKS = 64
MAX_SNAPSHOT_BYTES = 1_000_000
_HUNDREDTH = float(np.float32(0.01))  # as it arrives in a float field
MAX_TOP_K = 2**31 - 1
MAX_PAGE_SIZE = 1000
MAX_LOGPROBS = 20
MAX_DESCRIBED_TOKENS = 8192
MAX_REPORTED = 2**19
MAX_BIASES = 1024
MAX_BIAS = 100.0
_DEFAULT_PAGE_SIZE = 100
_LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda x: x == 0 or _HUNDREDTH <= x <= 100, "must be 0, or from 0.01 to 100"),
    "top_p": (lambda x: 0 < x <= 1, "must be above 0 and at most 1"),
    "min_p": (lambda x: 0 <= x <= 1, "must be from 0 to 1"),
    "repetition_penalty": (lambda x: _HUNDREDTH <= x <= 100, "must be from 0.01 to 100"),
    "presence_penalty": (lambda x: abs(x) <= 2, "must be from -2 to 2"),
    "frequency_penalty": (lambda x: abs(x) <= 2, "must be from -2 to 2"),
}
_TIERS = {
    Tier.RESIDENT: sessions_wire.SESSION_TIER_RESIDENT,
    Tier.PACKED: sessions_wire.SESSION_TIER_PACKED,
}
_REASONS = {
    FinishReason.LENGTH: wire.FINISH_REASON_LENGTH,
    FinishReason.STOP: wire.FINISH_REASON_STOP,
    FinishReason.END: wire.FINISH_REASON_END,
}


def read_generation(request: wire.GenerateRequest, bundle: Bundle, settings: Settings) -> Generation:
    """Return the checked request.

    Raises:
        InvalidField, UnknownCharacter: naming the field and the limit.
    """
    max_tokens = read_budget(request.max_tokens, bundle, settings)
    prompt = _read_prompt(request, bundle, settings)
    if request.resumed_tokens > len(request.prompt):
        raise InvalidField(
            "resumed_tokens", f"must be at most the prompt's {len(request.prompt)} tokens, is {request.resumed_tokens}"
        )
    return Generation(
        prompt=prompt,
        max_tokens=max_tokens,
        sampling=read_sampling(request.sampling, bundle.vocabulary),
        stops=read_stops(request.stop),
        seed=read_optional(request, "seed"),
        session_id=read_session_id(request.session_id) if request.session_id else None,
        expected_position=read_optional(request, "expected_position"),
        logprobs=read_logprobs(request.logprobs, bundle.vocabulary),
        resumed_tokens=request.resumed_tokens,
        max_chunk_tokens=read_chunk_limit(request.max_chunk_tokens),
        end=abilities.end(bundle),
        condition=read_condition(request, bundle),
        traced=read_activations(request, bundle.states),
    )


def read_budget(max_tokens: int, bundle: Bundle, settings: Settings) -> int:
    """Return how many tokens or vectors to generate: as many as are asked for, or else as the bundle says.

    Raises:
        InvalidField: too many, or neither says a number.
    """
    if max_tokens == 0 and bundle.manifest.feedback.length:
        return min(int(bundle.manifest.feedback.length), settings.max_tokens)
    if not 1 <= max_tokens <= settings.max_tokens:
        raise InvalidField("max_tokens", f"must be from 1 to {settings.max_tokens}, is {max_tokens}")
    return max_tokens


def read_scoring(request: wire.ScoreRequest, bundle: Bundle, settings: Settings) -> Scoring:
    """Return the checked request.

    Raises:
        InvalidField, UnknownCharacter: naming the field and the limit.
    """
    limit = min(settings.max_prompt_tokens, MAX_DESCRIBED_TOKENS) if request.per_token else settings.max_prompt_tokens
    start = abilities.start(bundle)
    fewest = 2 - len(start)
    if not fewest <= len(request.text) <= limit:
        raise InvalidField("text", f"must have {fewest} to {limit} tokens, has {len(request.text)}")
    logprobs, traced = read_logprobs(request.logprobs, bundle.vocabulary), read_activations(request, bundle.states)
    if not request.per_token:
        for name, is_asked in (("logprobs", logprobs), ("activations", len(traced))):
            if is_asked:
                raise InvalidField(name, "must be unset unless per_token is set")
    if len(traced) * len(request.text) > MAX_REPORTED:
        most = MAX_REPORTED // len(request.text)
        raise InvalidField("activations.units", f"must be at most {most} for so long a text, are {len(traced)}")
    text = np.concatenate([start, bundle.vocabulary.encode(request.text, field="text")])
    return Scoring(text, logprobs, request.per_token, traced, read_condition(request, bundle))


def read_ttl(ttl: Duration, settings: Settings) -> float:
    """Return a time to live in seconds."""
    return read_duration(ttl, 1, settings.max_session_ttl_s, field="ttl")


def read_idempotency_key(key: str) -> str:
    """Return a key that makes a repetition harmless, or an empty one."""
    if len(key) > MAX_IDEMPOTENCY_KEY_LENGTH:
        raise InvalidField(
            "idempotency_key", f"must have at most {MAX_IDEMPOTENCY_KEY_LENGTH} characters, has {len(key)}"
        )
    return key


def read_snapshot(snapshot: bytes) -> bytes:
    """Return bytes that may be a snapshot."""
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise InvalidField("snapshot", f"must have at most {MAX_SNAPSHOT_BYTES} bytes, has {len(snapshot)}")
    return snapshot


def write_snapshot(snapshot: bytes) -> bytes:
    """Return the bytes of a snapshot that ``read_snapshot`` takes.

    Raises:
        SnapshotInvalid: nobody could import it.
    """
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise SnapshotInvalid(
            f"the session's snapshot has {len(snapshot)} bytes, at most {MAX_SNAPSHOT_BYTES} can be imported:"
            " there are too many inputs that it can be rewound by"
        )
    return snapshot


def read_forks(request: sessions_wire.ForkSessionRequest) -> list[int | None]:
    """Return the seed of each session to make; None keeps the one there is."""
    if request.count > MAX_FORKS:
        raise InvalidField("count", f"must be at most {MAX_FORKS}, is {request.count}")
    count = request.count or 1
    if request.seeds and len(request.seeds) != count:
        raise InvalidField("seeds", f"must be none or {count}, one for each session, are {len(request.seeds)}")
    return list(request.seeds) or [None] * count


def read_page(page_size: int, page_token: str) -> tuple[int, int]:
    """Return the serial after which a page begins, and how many sessions it has at most."""
    if page_size > MAX_PAGE_SIZE:
        raise InvalidField("page_size", f"must be at most {MAX_PAGE_SIZE}, is {page_size}")
    if page_token and not (page_token.isascii() and page_token.isdecimal() and len(page_token) <= 19):
        raise InvalidField("page_token", "is not a next_page_token of this server")
    return int(page_token or 0), page_size or _DEFAULT_PAGE_SIZE


def write_chunk(chunk: wire.Chunk, parcel: Parcel, bundle: Bundle) -> None:
    """Fill the message of a piece of text, or of some vectors."""
    chunk.text, chunk.position = parcel.text, parcel.position
    if parcel.items:
        if parcel.text:
            chunk.logprobs.extend(_write_logprobs(parcel.text, parcel.items, bundle.vocabulary))
        else:
            chunk.vectors.extend(Vector(values=item.values) for item in parcel.items if isinstance(item, Answer))
        chunk.activations.extend(_write_activations(parcel.items))


def write_score(score: Score, text: str, bundle: Bundle) -> wire.ScoreResponse:
    """Return the message of a score of ``text``."""
    nats = -score.logprob / score.tokens
    return wire.ScoreResponse(
        logprob=score.logprob,
        tokens=score.tokens,
        nats_per_token=nats,
        bits_per_token=nats / math.log(2),
        logprobs=_write_logprobs(text[-score.tokens :], score.described, bundle.vocabulary),
        activations=_write_activations(score.described),
    )


def write_finish(finish: Finish) -> wire.GenerateResponse:
    """Return the message of the end."""
    return wire.GenerateResponse(
        finish=wire.Finish(
            reason=_REASONS[finish.reason],
            stop=finish.stop,
            usage=wire.Usage(prompt_tokens=finish.prompt_tokens, generated_tokens=finish.generated_tokens),
            seed=finish.seed,
            position=finish.position,
            start_position=finish.start_position,
            timings=wire.Timings(
                queue=_write_duration(finish.queue_s),
                first_token=_write_duration(finish.first_token_s),
                total=_write_duration(finish.total_s),
            ),
        )
    )


def write_session(session: SessionInfo) -> SessionMessage:
    """Return the message of a session."""
    message = SessionMessage(
        id=session.id,
        model=session.model,
        seed=session.seed,
        position=session.position,
        busy=session.is_busy,
        rewindable_from=session.rewindable_from,
        tier=_TIERS[session.tier],
        stored=session.epoch > 0,
    )
    message.create_time.CopyFrom(_write_timestamp(session.created))
    message.expire_time.CopyFrom(_write_timestamp(datetime.now(UTC).timestamp() + session.seconds_left))
    return message


def read_sampling(message: wire.Sampling, vocabulary: Vocabulary) -> Sampling:
    """Return how to choose tokens."""
    values = {name: getattr(message, name) for name in _LIMITS if message.HasField(name)}
    for name, number in values.items():
        is_within, limit = _LIMITS[name]
        if not (math.isfinite(number) and is_within(number)):
            raise InvalidField(f"sampling.{name}", f"{limit}, is {number:g}")
    if message.top_k > MAX_TOP_K:
        raise InvalidField("sampling.top_k", f"must be at most {MAX_TOP_K}, is {message.top_k}")
    return Sampling(**values, top_k=message.top_k, logit_bias=_read_bias(message, vocabulary))


def _read_bias(message: wire.Sampling, vocabulary: Vocabulary) -> tuple[tuple[int, float], ...]:
    field = "sampling.logit_bias"
    if len(message.logit_bias) > MAX_BIASES:
        raise InvalidField(field, f"must have at most {MAX_BIASES} tokens, has {len(message.logit_bias)}")
    for token, amount in message.logit_bias.items():
        if len(token) != 1:
            raise InvalidField(field, f"{token[:20]!r} is not a token of the vocabulary")
        if not abs(amount) <= MAX_BIAS:
            raise InvalidField(f"{field}[{token!r}]", f"must be from -{MAX_BIAS:g} to {MAX_BIAS:g}, is {amount:g}")
    tokens = vocabulary.encode("".join(message.logit_bias), field=field).tolist()
    return tuple(sorted(zip(tokens, message.logit_bias.values(), strict=True)))


def read_logprobs(count: int, vocabulary: Vocabulary) -> int:
    """Return how many tokens to describe."""
    if count > MAX_LOGPROBS:
        raise InvalidField("logprobs", f"must be at most {MAX_LOGPROBS}, is {count}")
    return min(count, len(vocabulary))


def _read_prompt(request: wire.GenerateRequest, bundle: Bundle, settings: Settings) -> NDArray[Any]:
    """Return what is fed first: int64[P], or f32[P, F] where vectors are generated."""
    if abilities.gives_tokens(bundle):
        if request.prompt_vectors:
            raise InvalidField("prompt_vectors", "must be empty: the bundle generates text")
        if len(request.prompt) > settings.max_prompt_tokens:
            raise InvalidField(
                "prompt", f"must have at most {settings.max_prompt_tokens} tokens, has {len(request.prompt)}"
            )
        return bundle.vocabulary.encode(request.prompt, field="prompt")
    for name in ("prompt", "sampling", "stop", "logprobs", "resumed_tokens"):
        if request.HasField(name) if name == "sampling" else getattr(request, name):
            raise InvalidField(name, "must be unset: the bundle generates vectors")
    if len(request.prompt_vectors) > MAX_INPUTS:
        raise InvalidField("prompt_vectors", f"must be at most {MAX_INPUTS}, are {len(request.prompt_vectors)}")
    return read_vectors(request.prompt_vectors, bundle.manifest.input.width, field="prompt_vectors")


def _write_logprobs(text: str, items: Sequence[Item], vocabulary: Vocabulary) -> Iterator[wire.TokenLogprobs]:
    for character, each in zip(text, items, strict=False):
        if isinstance(each, Described) and not math.isnan(each.chosen):
            top = [wire.TokenLogprob(token=vocabulary.token(token), logprob=logprob) for token, logprob in each.top]
            yield wire.TokenLogprobs(chosen=wire.TokenLogprob(token=character, logprob=each.chosen), top=top)


def read_stops(stops: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that end a generation."""
    if len(stops) > MAX_STOPS:
        raise InvalidField("stop", f"must have at most {MAX_STOPS} texts, has {len(stops)}")
    for i, stop in enumerate(stops):
        if not 1 <= len(stop) <= MAX_STOP_LENGTH:
            raise InvalidField(f"stop[{i}]", f"must have 1 to {MAX_STOP_LENGTH} characters, has {len(stop)}")
    return tuple(stops)


def _write_activations(items: Sequence[Item]) -> Iterator[Vector]:
    return (Vector(values=item.activations) for item in items if item.activations)


def _write_duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration


def _write_timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(int(seconds * 1e9))
    return timestamp

"""Protobuf messages to checked values, and values to messages.

Every number, text and list of a request is checked here against its documented bound; a refusal names
the field as it is written in the proto.
"""

import math
from datetime import UTC, datetime

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.session_pb2 import Session as SessionMessage
from unrolled_service.errors import InvalidField, UnsupportedField
from unrolled_service.outbox import Parcel
from unrolled_service.sampling import Sampling
from unrolled_service.session import Session
from unrolled_service.settings import Settings
from unrolled_service.stream import Finish, FinishReason, Generation
from unrolled_service.vocabulary import Vocabulary

MAX_STOPS = 8
MAX_STOP_LENGTH = 64
MAX_MODEL_LENGTH = 128
MAX_SESSION_ID_LENGTH = 64
MIN_TEMPERATURE = float(np.float32(0.01))  # as it arrives in a float field
MAX_TOP_K = 2**31 - 1
MAX_PAGE_SIZE = 1000
_DEFAULT_PAGE_SIZE = 100
_REASONS = {FinishReason.LENGTH: wire.FINISH_REASON_LENGTH, FinishReason.STOP: wire.FINISH_REASON_STOP}


def read_generation(request: wire.GenerateRequest, vocabulary: Vocabulary, settings: Settings) -> Generation:
    """Return the checked request.

    Raises:
        InvalidField, UnknownCharacter, UnsupportedField: naming the field and the limit.
    """
    if request.logprobs:
        raise UnsupportedField("logprobs", "must be 0: log-probabilities are not offered")
    if not 1 <= request.max_tokens <= settings.max_tokens:
        raise InvalidField("max_tokens", f"must be from 1 to {settings.max_tokens}, is {request.max_tokens}")
    if len(request.prompt) > settings.max_prompt_tokens:
        raise InvalidField(
            "prompt", f"must have at most {settings.max_prompt_tokens} tokens, has {len(request.prompt)}"
        )
    return Generation(
        prompt=vocabulary.encode(request.prompt, field="prompt"),
        max_tokens=request.max_tokens,
        sampling=_read_sampling(request.sampling),
        stops=_read_stops(request),
        seed=request.seed if request.HasField("seed") else None,
        session_id=read_session_id(request.session_id) if request.session_id else None,
        expected_position=request.expected_position if request.HasField("expected_position") else None,
    )


def read_model(name: str) -> str:
    """Return the name of a bundle, or an empty one."""
    if len(name) > MAX_MODEL_LENGTH:
        raise InvalidField("model", f"must have at most {MAX_MODEL_LENGTH} characters, has {len(name)}")
    return name


def read_session_id(session_id: str) -> str:
    """Return a session id that may exist."""
    if not 1 <= len(session_id) <= MAX_SESSION_ID_LENGTH:
        raise InvalidField("session_id", f"must have 1 to {MAX_SESSION_ID_LENGTH} characters, has {len(session_id)}")
    return session_id


def read_ttl(ttl: Duration, settings: Settings) -> float:
    """Return a time to live in seconds."""
    seconds = ttl.seconds + ttl.nanos / 1e9
    if not 1 <= seconds <= settings.max_session_ttl_s:
        raise InvalidField("ttl", f"must be from 1 s to {settings.max_session_ttl_s:g} s, is {seconds:g} s")
    return seconds


def read_page(page_size: int, page_token: str) -> tuple[int, int]:
    """Return the serial after which a page begins, and how many sessions it has at most."""
    if page_size > MAX_PAGE_SIZE:
        raise InvalidField("page_size", f"must be at most {MAX_PAGE_SIZE}, is {page_size}")
    if page_token and not (page_token.isascii() and page_token.isdecimal() and len(page_token) <= 19):
        raise InvalidField("page_token", "is not a next_page_token of this server")
    return int(page_token or 0), page_size or _DEFAULT_PAGE_SIZE


def write_chunk(parcel: Parcel) -> wire.GenerateResponse:
    """Return the message of a piece of text."""
    return wire.GenerateResponse(chunk=wire.Chunk(text=parcel.text, position=parcel.position))


def write_finish(finish: Finish) -> wire.GenerateResponse:
    """Return the message of the end."""
    return wire.GenerateResponse(
        finish=wire.Finish(
            reason=_REASONS[finish.reason],
            stop=finish.stop,
            usage=wire.Usage(prompt_tokens=finish.prompt_tokens, generated_tokens=finish.generated_tokens),
            seed=finish.seed,
            position=finish.position,
            timings=wire.Timings(
                queue=_write_duration(finish.queue_s),
                first_token=_write_duration(finish.first_token_s),
                total=_write_duration(finish.total_s),
            ),
        )
    )


def write_session(session: Session, expires_in_s: float) -> SessionMessage:
    """Return the message of a session that expires so many seconds from now."""
    message = SessionMessage(
        id=session.id,
        model=session.model,
        seed=session.seed,
        position=session.position,
        busy=session.stream is not None,
    )
    message.create_time.CopyFrom(_write_timestamp(session.created))
    message.expire_time.CopyFrom(_write_timestamp(datetime.now(UTC).timestamp() + expires_in_s))
    return message


def _read_sampling(message: wire.Sampling) -> Sampling:
    _refuse_unsupported(message)
    sampling = Sampling(
        temperature=message.temperature if message.HasField("temperature") else 1.0,
        top_k=message.top_k,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        min_p=message.min_p if message.HasField("min_p") else 0.0,
    )
    checks = {
        "temperature": (
            sampling.temperature == 0 or MIN_TEMPERATURE <= sampling.temperature <= 100,
            "must be 0, or from 0.01 to 100",
        ),
        "top_k": (sampling.top_k <= MAX_TOP_K, f"must be at most {MAX_TOP_K}"),
        "top_p": (0 < sampling.top_p <= 1, "must be above 0 and at most 1"),
        "min_p": (0 <= sampling.min_p <= 1, "must be from 0 to 1"),
    }
    for name, (is_within, limit) in checks.items():
        value = getattr(sampling, name)
        if not (is_within and math.isfinite(value)):
            raise InvalidField(f"sampling.{name}", f"{limit}, is {value:g}")
    return sampling


def _refuse_unsupported(message: wire.Sampling) -> None:
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    for name, value in neutral.items():
        if message.HasField(name) and getattr(message, name) != value:
            raise UnsupportedField(f"sampling.{name}", f"must be unset or {value:g}: it is not offered")
    if message.logit_bias:
        raise UnsupportedField("sampling.logit_bias", "must be empty: it is not offered")


def _read_stops(request: wire.GenerateRequest) -> tuple[str, ...]:
    if len(request.stop) > MAX_STOPS:
        raise InvalidField("stop", f"must have at most {MAX_STOPS} texts, has {len(request.stop)}")
    for i, stop in enumerate(request.stop):
        if not 1 <= len(stop) <= MAX_STOP_LENGTH:
            raise InvalidField(f"stop[{i}]", f"must have 1 to {MAX_STOP_LENGTH} characters, has {len(stop)}")
    return tuple(request.stop)


def _write_duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration


def _write_timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(int(seconds * 1e9))
    return timestamp

"""How a client connects: address, channel options, metadata, stubs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.v1 import generation_pb2_grpc, model_pb2_grpc, sequence_pb2_grpc, session_pb2_grpc
from unrolled_client.values import ResumePolicy

DEFAULT_TARGET = "127.0.0.1:50051"
TARGET_VARIABLE = "UNROLLED_SERVER"
DEFAULT_CALL_TIMEOUT_S = 10.0
DEFAULT_RESUME = ResumePolicy()
SESSION_HEADER = "x-session-id"

Metadata = tuple[tuple[str, str | bytes], ...]
Options = Sequence[tuple[str, Any]]
Target = str | Sequence[str]
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
ANY_SERVICE = b""  # a HealthCheckRequest, and the HealthCheckResponse of one that serves
SERVING = b"\x08\x01"
PROBE_TIMEOUT_S = 5.0

# A stream may be silent for a while, for instance in the server's queue, and a dead peer must not leave its
# reader waiting forever: ping every 30 s while a call runs, give up 10 s later. Nothing is sent while no call
# runs. The window of a call stays at 64 KiB: left to itself it grows to megabytes, and a server computes all of
# them for a reader that has stopped. A channel left to itself takes up to two minutes to look for a lost server
# again, and refuses calls until then: it tries as often as a resumed call does. An attempt that meets silence is given
# up after 5 s instead of 20.
DEFAULTS: Options = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True)
class Stubs:
    """The service's methods on one channel, synchronous or asynchronous."""

    generation: Any
    sequences: Any
    sessions: Any
    models: Any

    @classmethod
    def on(cls, channel: Any) -> "Stubs":
        """Return the stubs that call through a channel."""
        return cls(
            generation=generation_pb2_grpc.GenerationServiceStub(channel),
            sequences=sequence_pb2_grpc.SequenceServiceStub(channel),
            sessions=session_pb2_grpc.SessionServiceStub(channel),
            models=model_pb2_grpc.ModelServiceStub(channel),
        )


def resolve_targets(target: Target | None) -> tuple[str, ...]:
    """Return the addresses to connect to: the given ones, else those of UNROLLED_SERVER, else the default.

    Raises:
        ValueError: there is a list, and it names none.
    """
    given = target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET
    listed = [each.strip() for each in given.split(",")] if isinstance(given, str) else given
    targets = tuple(dict.fromkeys(filter(None, listed)))
    if not targets:
        raise ValueError(f"{given!r} names no server")
    return targets


def merge_options(options: Options) -> list[tuple[str, Any]]:
    """Return channel options: the defaults, overridden and extended by the caller's."""
    return list({**dict(DEFAULTS), **dict(options)}.items())


def merge_metadata(metadata: Metadata, session_id: str | None) -> Metadata:
    """Return a call's metadata; a session's id is a header so that a balancer can keep it on its replica."""
    return metadata if session_id is None else (*metadata, (SESSION_HEADER, session_id))

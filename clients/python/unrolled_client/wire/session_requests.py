"""Builds the calls that make, copy, rewind, move and end sessions.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf import duration_pb2

from unrolled.v1 import session_pb2
from unrolled_client.errors import PositionMismatch, SessionMoved, UnrolledError
from unrolled_client.values import SessionInfo
from unrolled_client.wire import replies
from unrolled_client.wire.calls import UnaryCall


def create_session(
    *, model: str | None = None, seed: int | None = None, ttl_s: float | None = None, idempotency_key: str = ""
) -> UnaryCall[SessionInfo]:
    """Build a CreateSession call; ttl_s is the idle time in seconds after which the session expires."""
    request = session_pb2.CreateSessionRequest(
        model=model, seed=seed, ttl=_duration(ttl_s), idempotency_key=idempotency_key
    )
    is_repeatable = bool(idempotency_key)
    return UnaryCall("sessions", "CreateSession", request, _session, is_repeatable=is_repeatable, sessions=_alone)


def get_session(session_id: str) -> UnaryCall[SessionInfo]:
    """Build a GetSession call."""
    request = session_pb2.GetSessionRequest(session_id=session_id)
    return UnaryCall("sessions", "GetSession", request, _session, session_id, is_repeatable=True, sessions=_alone)


def list_sessions(
    page_size: int | None = None,
    page_token: str = "",  # nosec B107
    *,
    server: int | None = None,
) -> UnaryCall[replies.SessionPage]:
    """Build a ListSessions call for one page of one server; page_token is empty for the first."""
    request = session_pb2.ListSessionsRequest(page_size=page_size, page_token=page_token)
    return UnaryCall(
        "sessions",
        "ListSessions",
        request,
        replies.session_page,
        is_repeatable=True,
        sessions=lambda page: page.sessions,
        server=server,
    )


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
    return UnaryCall(
        "sessions",
        "ForkSession",
        request,
        replies.forks,
        session_id,
        is_repeatable=bool(idempotency_key),
        sessions=lambda forks: forks,
    )


def rewind_session(
    session_id: str, position: int, *, expected_position: int | None = None, preempt: bool = False
) -> UnaryCall[SessionInfo]:
    """Build a RewindSession call. A repetition that finds the session at the position already is content with it."""

    def read_rewound(reply: Any) -> SessionInfo:
        info = _session(reply)
        if info.position != position:  # the server that took it back could not store it, and another has it now
            raise SessionMoved(f"it is at {info.position} again", code=grpc.StatusCode.ABORTED, position=info.position)
        return info

    def describe_rewound(error: UnrolledError) -> UnaryCall[SessionInfo] | None:
        is_there = isinstance(error, PositionMismatch) and error.position == position
        return replace(get_session(session_id), parse=read_rewound) if is_there else None

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
        sessions=_alone,
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
    is_repeatable = bool(idempotency_key)
    return UnaryCall("sessions", "ImportSnapshot", request, _session, is_repeatable=is_repeatable, sessions=_alone)


def _session(reply: Any) -> SessionInfo:
    return replies.session_info(reply.session)


def _alone(info: SessionInfo) -> tuple[SessionInfo, ...]:
    return (info,)


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration

"""Which errors break a generation, which stand in the way of resuming it, and with which one it ends.

A break is what may happen to anybody's connection: no server, one that goes away, one that another has relieved, a
stream without an end. What a server decided (a refusal, a deadline, a defect) ends the generation.
"""

import grpc

from unrolled_client.errors import (
    Cancelled,
    FailedPrecondition,
    IncompleteStream,
    InvalidArgument,
    ModelMismatch,
    OutOfRange,
    PositionMismatch,
    QueueFull,
    SessionBusy,
    SessionMoved,
    SlotsExhausted,
    Unavailable,
    UnrolledError,
)
from unrolled_client.values import Chunk
from unrolled_client.wire.echo import Echo

BREAKS = (Unavailable, SessionMoved, IncompleteStream)
# While a stream is being resumed its own remains may still run on the session and move it, all who lost the same
# server come to the others at once, and not all of those may serve the bundle that began it.
OBSTACLES = (*BREAKS, SessionBusy, PositionMismatch, ModelMismatch, QueueFull, SlotsExhausted)
# Refused because of how the continuation is asked for, of which the caller knows nothing.
IMPOSSIBLE = (InvalidArgument, FailedPrecondition, OutOfRange)


def ending_of(error: UnrolledError, broke: UnrolledError | None) -> UnrolledError:
    """Return the error that a generation ends with.

    Args:
        error: what cannot be overcome.
        broke: the break before it; None where there was none.
    """
    if broke is None or broke is error:
        return error
    ending, cause = (broke, error) if isinstance(error, OBSTACLES + IMPOSSIBLE) else (error, broke)
    ending.__cause__ = cause
    return ending


def incomplete() -> UnrolledError:
    """Return what it means that a call ended without an error and without a finish."""
    message = "the stream ended without a finish, its text may be incomplete"
    return IncompleteStream(message, code=grpc.StatusCode.INTERNAL)


def closed() -> Cancelled:
    """Return what it means that this program stopped reading."""
    return Cancelled("this program closed the stream before its end", code=grpc.StatusCode.CANCELLED)


def diverged(expected: Echo, chunk: Chunk | None) -> FailedPrecondition:
    """Return what it means that a part was written again and came out otherwise; None: not at all."""
    was, now = (expected.text or expected.vectors), chunk and (chunk.text or chunk.vectors)
    message = f"after the break it goes on with {now!r:.80} in place of {was!r:.80}"
    return FailedPrecondition(message, code=grpc.StatusCode.FAILED_PRECONDITION)


def unexplained(position: int, start: int) -> FailedPrecondition:
    """Return what it means that a session is where a call that began at `start` cannot have left it."""
    message = f"the session is at position {position}, which a call that began at {start} does not explain"
    return FailedPrecondition(message, code=grpc.StatusCode.FAILED_PRECONDITION, position=position)


def fallen_behind(position: int, floor: int) -> PositionMismatch:
    """Return what it means that a session is before the position where its handle left it."""
    return _misplaced(f"the session is at position {position}, before {floor} where its handle left it", position)


def run_ahead(position: int, certain: int) -> PositionMismatch:
    """Return what it means that a session is after the position where its own handle left it."""
    return _misplaced(f"the session is at position {position}, after {certain} where its handle left it", position)


def _misplaced(message: str, position: int) -> PositionMismatch:
    code = grpc.StatusCode.FAILED_PRECONDITION
    return PositionMismatch(message, reason="POSITION_MISMATCH", code=code, position=position)

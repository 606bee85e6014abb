"""Everything that can go wrong, as one tree.

A class per group of causes, named after its gRPC status code, and below it a class per documented reason. A
reason that only a newer server knows arrives as the class of its group, so that `except NotFound` keeps
working.

    UnrolledError
    |- InvalidArgument      InvalidField, UnknownCharacter, SnapshotInvalid
    |- NotFound             ModelNotFound, SessionNotFound, SessionExpired, SessionEvicted
    |- Aborted              SessionBusy, SessionMoved, Preempted, ReaderStalled, IdempotencyConflict
    |- FailedPrecondition   PositionMismatch, ModelMismatch, TaskMismatch, SnapshotMismatch
    |- OutOfRange           RewindOutOfRange
    |- ResourceExhausted    SlotsExhausted, QueueFull, QuotaExceeded, Overloaded
    |- Unavailable          Draining, StoreUnavailable, Unreachable
    |- InternalError        IncompleteStream
    |- Unauthenticated
    |- PermissionDenied
    |- DeadlineExceeded
    `- Cancelled
"""

from collections.abc import Mapping
from types import MappingProxyType

import grpc


class UnrolledError(Exception):
    """A call that did not succeed.

    Attributes:
        message: what happened, for people.
        reason: the server's machine-readable reason such as "SESSION_BUSY"; empty when the server gave none.
        code: the gRPC status code, a `grpc.StatusCode`.
        field: path of the request's field that was refused; None for another cause.
        retry_after_s: seconds after which the server suggests to try again; None when it suggests nothing.
        error_id: opaque id of a defect, to quote to the server's operator; None for another cause.
        position: where the session is, in tokens; None where the server did not say.
        method: the method that fits what the bundle does; None for another cause.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        field: str | None = None,
        retry_after_s: float | None = None,
        error_id: str | None = None,
        position: int | None = None,
        method: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.field = field
        self.retry_after_s = retry_after_s
        self.error_id = error_id
        self.position = position
        self.method = method


class InvalidArgument(UnrolledError):
    """The request can not succeed as it is; nothing was done."""


class InvalidField(InvalidArgument):
    """A field is missing, malformed or out of range; `field` names it."""


class UnknownCharacter(InvalidArgument):
    """The prompt has a character that the model's vocabulary has not."""


class SnapshotInvalid(InvalidArgument):
    """The snapshot is damaged, or no key of the server signed it."""


class NotFound(UnrolledError):
    """What the call names does not exist."""


class ModelNotFound(NotFound):
    """No bundle of that name is served, or none was named while more than one is."""


class SessionNotFound(NotFound):
    """The session does not exist or belongs to somebody else."""


class SessionExpired(NotFound):
    """The session was idle for too long; start again from the text you hold."""


class SessionEvicted(NotFound):
    """The session was given up to make room for others; start again from the text you hold."""


class Aborted(UnrolledError):
    """The call lost against something that happens at the same time."""


class SessionBusy(Aborted):
    """Another stream is running on the session; finish or cancel it first."""


class SessionMoved(Aborted):
    """Another server has taken the session over; call again to reach it."""


class Preempted(Aborted):
    """The stream was stopped by another call on its session."""


class ReaderStalled(Aborted):
    """The text was not read, or the call's first message did not come, for longer than the server waits."""


class IdempotencyConflict(Aborted):
    """The idempotency key was used with other arguments, or its call is still running."""


class FailedPrecondition(UnrolledError):
    """The session is not as the call needs it; nothing was done."""


class PositionMismatch(FailedPrecondition):
    """The session is not at the expected position."""


class ModelMismatch(FailedPrecondition):
    """The session was made for another model than the one named."""


class TaskMismatch(FailedPrecondition):
    """The bundle does something else than the method is for; `method` names the one that fits."""


class SnapshotMismatch(FailedPrecondition):
    """The snapshot belongs to another bundle or owner, or to a machine that rounds differently."""


class OutOfRange(UnrolledError):
    """A position is outside of what the session has; nothing was done."""


class RewindOutOfRange(OutOfRange):
    """The session cannot be rewound to that position."""


class ResourceExhausted(UnrolledError):
    """The server is full; try again after `retry_after_s`."""


class SlotsExhausted(ResourceExhausted):
    """Every session slot is taken."""


class QueueFull(ResourceExhausted):
    """Too many streams, or tokens, are waiting."""


class QuotaExceeded(ResourceExhausted):
    """The caller has as many streams, sessions or tokens a second as it may."""


class Overloaded(ResourceExhausted):
    """What waits before the call would keep its first token past its deadline."""


class Unavailable(UnrolledError):
    """No server took or finished the call; another one may."""


class Draining(Unavailable):
    """The server is going away; resume on another one."""


class StoreUnavailable(Unavailable):
    """The store that may have the session does not answer; try again after `retry_after_s`."""


class Unreachable(Unavailable):
    """There is no connection to a server, or it broke."""


class InternalError(UnrolledError):
    """A defect of the server; quote `error_id` to its operator."""


class IncompleteStream(InternalError):
    """The stream ended without saying how; its text may be incomplete."""


class Unauthenticated(UnrolledError):
    """The server does not know the token, or there is none; nothing was done."""


class PermissionDenied(UnrolledError):
    """The token is not good for this call; the message names the scope that it lacks."""


class DeadlineExceeded(UnrolledError):
    """The call took longer than its timeout."""


class Cancelled(UnrolledError):
    """The call was cancelled, usually because this program closed the stream."""


BY_REASON: Mapping[str, type[UnrolledError]] = MappingProxyType(
    {
        "INVALID_FIELD": InvalidField,
        "UNKNOWN_CHARACTER": UnknownCharacter,
        "MODEL_NOT_FOUND": ModelNotFound,
        "SESSION_NOT_FOUND": SessionNotFound,
        "SESSION_EXPIRED": SessionExpired,
        "SESSION_EVICTED": SessionEvicted,
        "SESSION_BUSY": SessionBusy,
        "SESSION_MOVED": SessionMoved,
        "PREEMPTED": Preempted,
        "POSITION_MISMATCH": PositionMismatch,
        "MODEL_MISMATCH": ModelMismatch,
        "REWIND_OUT_OF_RANGE": RewindOutOfRange,
        "IDEMPOTENCY_CONFLICT": IdempotencyConflict,
        "SNAPSHOT_INVALID": SnapshotInvalid,
        "TASK_MISMATCH": TaskMismatch,
        "SNAPSHOT_MISMATCH": SnapshotMismatch,
        "SLOTS_EXHAUSTED": SlotsExhausted,
        "QUEUE_FULL": QueueFull,
        "QUOTA_EXCEEDED": QuotaExceeded,
        "OVERLOADED": Overloaded,
        "STORE_UNAVAILABLE": StoreUnavailable,
        "READER_STALLED": ReaderStalled,
        "DRAINING": Draining,
        "INTERNAL": InternalError,
        "UNAUTHENTICATED": Unauthenticated,
        "PERMISSION_DENIED": PermissionDenied,
    }
)

BY_CODE: Mapping[grpc.StatusCode, type[UnrolledError]] = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.ABORTED: Aborted,
        grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
        grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
        grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
        grpc.StatusCode.INTERNAL: InternalError,
        grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
        grpc.StatusCode.CANCELLED: Cancelled,
    }
)

"""Every refusal the server can give, as one tree of exceptions.

A class names the ``ErrorReason`` it stands for (proto/unrolled/v1/error.proto, where the gRPC code
stands too); its message is written for the caller. Nothing here knows gRPC.

    UnrolledError
    ├── Unauthenticated, PermissionDenied
    ├── InvalidField             a field is missing, malformed or out of range
    │   └── UnknownCharacter     the vocabulary lacks a character of the text
    ├── ModelNotFound
    ├── SessionNotFound, SessionExpired, SessionEvicted
    ├── SessionBusy, SessionMoved, Preempted
    ├── TaskMismatch             says which ``method`` fits
    ├── PositionMismatch, ModelMismatch, RewindOutOfRange, IdempotencyConflict
    ├── SnapshotInvalid, SnapshotMismatch
    ├── SlotsExhausted, QueueFull, QuotaExceeded, Overloaded, StoreUnavailable    come back after ``retry_after_s``
    ├── ReaderStalled
    └── Draining
    BundleError, KeyFileError, TenantFileError    a bundle cannot be served, a file of keys, tokens, certificates or
                                                  tenants cannot be used; for operators, never on the wire
"""

from typing import ClassVar, Self

DIFFERENCES = ("bundle", "precision", "numerics")


class UnrolledError(Exception):
    """A refusal with a documented reason.

    Args:
        message: one sentence for the caller; it reaches the wire as it is.
        retry_after_s: seconds after which the same call may succeed, or None.
        position: where the session is, where the caller needs to know; or None.
        differs: what is not that of this server, one of ``DIFFERENCES``; or None.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        position: int | None = None,
        differs: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.position = position
        self.differs = differs

    def at(self, position: int) -> Self:
        """Return the same refusal, which says where the session is; one error may end many streams."""
        placed = type(self).__new__(type(self), *self.args)
        placed.__dict__.update(self.__dict__, position=position)
        return placed


class Unauthenticated(UnrolledError):
    """The caller shows nothing that says who it is; the message does not tell what is wrong with what it shows."""

    reason = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__("a valid bearer token is needed, in the metadata `authorization`")


class PermissionDenied(UnrolledError):
    """The caller is known and may not do this.

    Args:
        scope: what its token lacks.
    """

    reason = "PERMISSION_DENIED"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}")


class InvalidField(UnrolledError):
    """A field of the request cannot be accepted; nothing was done.

    Args:
        field: path of the field in the request, for instance ``sampling.top_p``.
        description: what is wrong and what the limit is.
    """

    reason = "INVALID_FIELD"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class UnknownCharacter(InvalidField):
    """The vocabulary lacks a character of the text."""

    reason = "UNKNOWN_CHARACTER"


class ModelNotFound(UnrolledError):
    """No bundle of that name is served, or the name is needed and missing."""

    reason = "MODEL_NOT_FOUND"


class SessionNotFound(UnrolledError):
    """The session does not exist, or belongs to somebody else: the two look alike."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("no such session")


class SessionExpired(UnrolledError):
    """The session was idle for too long and its state is gone."""

    reason = "SESSION_EXPIRED"

    def __init__(self) -> None:
        super().__init__("the session was idle for longer than its time to live; its state is gone")


class SessionEvicted(UnrolledError):
    """The session was given up to make room for others."""

    reason = "SESSION_EVICTED"

    def __init__(self) -> None:
        super().__init__("the session was given up to make room for others; its state is gone")


class SessionBusy(UnrolledError):
    """Another stream runs on the session."""

    reason = "SESSION_BUSY"

    def __init__(self) -> None:
        super().__init__("a stream is running on the session; one at a time")


class SessionMoved(UnrolledError):
    """Another server has taken the session over."""

    reason = "SESSION_MOVED"

    def __init__(self) -> None:
        super().__init__("another server has taken the session over; call again to reach it")


class Preempted(UnrolledError):
    """A stream was stopped by another call on its session."""

    reason = "PREEMPTED"

    def __init__(self) -> None:
        super().__init__("the stream was stopped by another call on its session")


class PositionMismatch(UnrolledError):
    """The session is not where the caller expects it."""

    reason = "POSITION_MISMATCH"


class ModelMismatch(UnrolledError):
    """The session belongs to another bundle than the call names, or what the call continues to another origin."""

    reason = "MODEL_MISMATCH"


class TaskMismatch(UnrolledError):
    """The bundle does something else than the method is for, or keeps no sessions.

    Args:
        model: name of the bundle.
        method: the method that fits, for instance ``SequenceService.Step``.
        lack: what the bundle does not do, for instance "generates no text".
    """

    reason = "TASK_MISMATCH"

    def __init__(self, model: str, method: str, lack: str) -> None:
        super().__init__(f"{model!r} {lack}; call {method}")
        self.method = method


class RewindOutOfRange(UnrolledError):
    """The session cannot be rewound to that position."""

    reason = "REWIND_OUT_OF_RANGE"


class IdempotencyConflict(UnrolledError):
    """The key was used with other fields, or its call is still running."""

    reason = "IDEMPOTENCY_CONFLICT"


class SnapshotInvalid(UnrolledError):
    """The bytes are not a snapshot that a key of this server signed."""

    reason = "SNAPSHOT_INVALID"


class SnapshotMismatch(UnrolledError):
    """The snapshot is whole, but belongs to another bundle, owner or arithmetic."""

    reason = "SNAPSHOT_MISMATCH"


class SlotsExhausted(UnrolledError):
    """Every session slot of the bundle is taken."""

    reason = "SLOTS_EXHAUSTED"


class QueueFull(UnrolledError):
    """As many streams as the server holds are running or waiting, or as many tokens wait, or calls watch, as may."""

    reason = "QUEUE_FULL"


class QuotaExceeded(UnrolledError):
    """The tenant has as much as it may."""

    reason = "QUOTA_EXCEEDED"


class Overloaded(UnrolledError):
    """The call's deadline would come before its first token."""

    reason = "OVERLOADED"


class StoreUnavailable(UnrolledError):
    """The store that may have the session does not answer."""

    reason = "STORE_UNAVAILABLE"


class ReaderStalled(UnrolledError):
    """The reader of a stream took nothing for too long, or the first message of a call did not come."""

    reason = "READER_STALLED"


class Draining(UnrolledError):
    """The server takes no new work because it is going away."""

    reason = "DRAINING"

    def __init__(self, *, position: int | None = None) -> None:
        super().__init__("the server is going away; resume on another one", position=position)


REASONS = tuple(
    error.reason
    for error in (
        Unauthenticated,
        PermissionDenied,
        InvalidField,
        UnknownCharacter,
        ModelNotFound,
        SessionNotFound,
        SessionExpired,
        SessionEvicted,
        SessionBusy,
        SessionMoved,
        Preempted,
        PositionMismatch,
        ModelMismatch,
        TaskMismatch,
        RewindOutOfRange,
        IdempotencyConflict,
        SnapshotInvalid,
        SnapshotMismatch,
        SlotsExhausted,
        QueueFull,
        QuotaExceeded,
        Overloaded,
        StoreUnavailable,
        ReaderStalled,
        Draining,
    )
)


class BundleError(Exception):
    """A folder is not a bundle that this server can serve. The message names the file and the fault."""


class FileError(Exception):
    """A file beside the settings cannot be used."""


class KeyFileError(FileError):
    """A file does not hold the keys, tokens or certificates that it should. The message names the fault."""


class TenantFileError(FileError):
    """A file does not say what tenants may have. The message names the place and the fault."""

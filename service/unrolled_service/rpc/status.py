"""Errors to google.rpc.Status: the one place where a refusal becomes bytes.

The gRPC code of a reason is read from the ``ErrorReason`` enum of the wire contract.
"""

from functools import lru_cache

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from unrolled.v1.error_pb2 import ErrorReason, grpc_code
from unrolled_service.errors import InvalidField, TaskMismatch, UnrolledError

DOMAIN = "unrolled"
_REMEMBERED = 64  # a flood is refused in the same words
_PREFIX = "ERROR_REASON_"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_REASON_CODES = {
    value.name.removeprefix(_PREFIX): _CODES[value.GetOptions().Extensions[grpc_code]]  # type: ignore[index]
    for value in ErrorReason.DESCRIPTOR.values
    if value.number
}


def code_of(reason: str) -> grpc.StatusCode:
    """Return the status code that a reason travels with."""
    return _REASON_CODES[reason]


def refusal_status(error: UnrolledError) -> Status:
    """Return the status of a refusal, with its details; it is shared and not to be changed."""
    metadata: tuple[tuple[str, str], ...] = ()
    if error.position is not None:
        metadata += (("position", str(error.position)),)
    if isinstance(error, TaskMismatch):
        metadata += (("method", error.method),)
    violation = (error.field, error.description) if isinstance(error, InvalidField) else None
    return _refusal(error.reason, error.message, metadata, violation, error.retry_after_s)


@lru_cache(_REMEMBERED)
def _refusal(
    reason: str,
    message: str,
    metadata: tuple[tuple[str, str], ...],
    violation: tuple[str, str] | None,
    retry_after_s: float | None,
) -> Status:
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata))]
    if violation is not None:
        field, description = violation
        details.append(BadRequest(field_violations=[BadRequest.FieldViolation(field=field, description=description)]))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        details.append(RetryInfo(retry_delay=delay))
    return _status(reason, message, details)


def defect_status(error_id: str) -> Status:
    """Return the status of a defect: an id to quote, and nothing of what happened."""
    info = ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    return _status("INTERNAL", f"internal error, id {error_id}", [info])


def _status(reason: str, message: str, details: list[Message]) -> Status:
    status = Status(code=code_of(reason).value[0], message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status

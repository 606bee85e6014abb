"""Turns the status of a failed call into an error of this package."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from unrolled_client import errors
from unrolled_client.wire.replies import seconds

DOMAIN = "unrolled"
# A server of ours says why. Where nobody does, it did not decide: there is none, the connection broke, or a proxy
# between lost its server in the middle of a stream and reset that.
_UNDECIDED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def error_of(failure: Any) -> errors.UnrolledError:
    """Return the error that a failed call stands for.

    Args:
        failure: what the call raised, a `grpc.RpcError` of the synchronous or of the asynchronous API.
    """
    status = _status_of(failure)
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    is_explained = _unpack(status, info) and info.domain == DOMAIN
    _unpack(status, bad_request)
    return _class_of(failure.code(), info.reason if is_explained else None)(
        _message_of(failure),
        reason=info.reason if is_explained else "",
        code=failure.code(),
        field=bad_request.field_violations[0].field if bad_request.field_violations else None,
        retry_after_s=seconds(retry.retry_delay) if _unpack(status, retry) else None,
        error_id=info.metadata.get("error_id") if is_explained else None,
        position=_position_in(info) if is_explained else None,
        method=info.metadata.get("method") if is_explained else None,
    )


def _position_in(info: error_details_pb2.ErrorInfo) -> int | None:
    position = info.metadata.get("position", "")
    return int(position) if position.isdecimal() else None


def _class_of(code: grpc.StatusCode, reason: str | None) -> type[errors.UnrolledError]:
    if reason is None and code in _UNDECIDED:
        return errors.Unreachable
    return errors.BY_REASON.get(reason or "") or errors.BY_CODE.get(code, errors.UnrolledError)


def _message_of(failure: Any) -> str:
    return str(failure.details() or failure.code().name.lower().replace("_", " "))


def _status_of(failure: Any) -> status_pb2.Status:
    try:
        return rpc_status.from_call(failure) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()


def _unpack(status: status_pb2.Status, detail: Message) -> bool:
    try:
        return any(packed.Unpack(detail) for packed in status.details)
    except DecodeError:
        return False

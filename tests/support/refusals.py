"""Calls that must be refused, and what the refusal says, read from the wire without the client library."""

from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from unrolled.v1 import error_pb2


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller can know of a call that was refused."""

    code: str
    reason: str
    field: str
    text: str
    retry_after_s: float | None
    position: int | None
    method: str = ""


def refusal(call: Callable[[], object]) -> Refusal:
    """Make a call that must fail; return what the caller can know."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return read_refusal(caught.value)


def read_refusal(error: grpc.RpcError) -> Refusal:
    """Return what a caller can know of a call that was refused, which must be as the protocol says."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    assert status.code == error.code().value[0]
    found: dict[str, list[object]] = {}
    for detail in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                found.setdefault(kind.__name__, []).append(message)
    (info,) = found["ErrorInfo"]
    assert isinstance(info, ErrorInfo)
    assert info.domain == "unrolled"
    value = error_pb2.ErrorReason.DESCRIPTOR.values_by_name[f"ERROR_REASON_{info.reason}"]
    assert value.GetOptions().Extensions[error_pb2.grpc_code] == status.code  # type: ignore[index]
    field = ""
    for bad in found.get("BadRequest", []):
        assert isinstance(bad, BadRequest)
        field = bad.field_violations[0].field
    retry_after_s = None
    for retry in found.get("RetryInfo", []):
        assert isinstance(retry, RetryInfo)
        retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    position = int(info.metadata["position"]) if "position" in info.metadata else None
    method = info.metadata.get("method", "")
    return Refusal(error.code().name, info.reason, field, status.message, retry_after_s, position, method)


def check_invalid(refused: Refusal, field: str, reason: str = "INVALID_FIELD") -> None:
    """Fail unless a call was refused for a field."""
    assert (refused.code, refused.reason, refused.field) == ("INVALID_ARGUMENT", reason, field)
    assert refused.text.startswith(f"{field}: ")

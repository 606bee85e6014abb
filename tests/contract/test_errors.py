"""The error table: proto, service and client name the same reasons with the same codes."""

from typing import Any

import grpc
import pytest

from unrolled.v1.error_pb2 import ErrorReason, grpc_code
from unrolled_client import errors as client
from unrolled_client.wire.status import error_of
from unrolled_service import errors as service
from unrolled_service.rpc.status import code_of, defect_status, refusal_status

PREFIX = "ERROR_REASON_"
VALUES = {value.name.removeprefix(PREFIX): value for value in ErrorReason.DESCRIPTOR.values if value.number}
NUMBERS = {code.value[0]: code for code in grpc.StatusCode}


def service_classes() -> list[type[service.UnrolledError]]:
    """Return the service's tree; classes that tests made do not count."""
    found, todo = [], [service.UnrolledError]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        if kind.__module__ == service.__name__:
            found.append(kind)
    return found


CLASSES = {kind.reason: kind for kind in service_classes()}


class FailedCall:
    """What the client sees of a call that ended with a status."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return NUMBERS[self._status.code]

    def details(self) -> str:
        return str(self._status.message)

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._status.SerializeToString()),)


def make_error(kind: type[service.UnrolledError]) -> service.UnrolledError:
    arguments: dict[str, Any] = {}
    if issubclass(kind, service.InvalidField):
        arguments = {"field": "stop[3]", "description": "has no character"}
    elif kind is service.TaskMismatch:
        arguments = {"model": "digits", "method": "SequenceService.Classify", "lack": "generates nothing"}
    elif kind is service.PermissionDenied:
        arguments = {"scope": "session"}
    elif "__init__" not in vars(kind):
        arguments = {"message": "no", "retry_after_s": 1.5, "position": 7}
    return kind(**arguments)


@pytest.mark.parametrize("reason", VALUES)
def test_a_reason_has_a_code(reason: str) -> None:
    assert VALUES[reason].GetOptions().HasExtension(grpc_code)  # type: ignore[arg-type]
    assert code_of(reason) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def test_the_service_has_one_class_per_reason() -> None:
    assert sorted(kind.reason for kind in service_classes()) == sorted(VALUES)
    assert CLASSES["INTERNAL"] is service.UnrolledError
    assert {*service.REASONS} == {*VALUES} - {"INTERNAL"}


def test_the_client_has_one_class_per_reason() -> None:
    assert {*client.BY_REASON} == {*VALUES}
    assert len({*client.BY_REASON.values()}) == len(VALUES)


@pytest.mark.parametrize("reason", VALUES)
def test_service_and_client_agree_on_the_code(reason: str) -> None:
    assert issubclass(client.BY_REASON[reason], client.BY_CODE[code_of(reason)])


@pytest.mark.parametrize("reason", sorted({*VALUES} - {"INTERNAL"}))
def test_a_refusal_arrives_as_what_it_was(reason: str) -> None:
    said = make_error(CLASSES[reason])
    heard = error_of(FailedCall(refusal_status(said)))
    assert type(heard) is client.BY_REASON[reason]
    assert (heard.message, heard.reason, heard.code) == (said.message, reason, code_of(reason))
    assert heard.retry_after_s == said.retry_after_s
    assert heard.field == getattr(said, "field", None)
    assert heard.position == said.position


def test_a_defect_arrives_with_its_id_alone() -> None:
    heard = error_of(FailedCall(defect_status("c0ffee")))
    assert type(heard) is client.InternalError
    assert heard.error_id == "c0ffee"

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_server import FakeServer, bare_status, code_of, refusal
from unrolled.v1 import error_pb2
from unrolled_client import errors
from unrolled_client.wire.status import error_of

REASONS = [
    value.name.removeprefix("ERROR_REASON_") for value in error_pb2.ErrorReason.DESCRIPTOR.values if value.number
]
CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Failure:
    """What a failed call shows of itself."""

    status: grpc.StatusCode
    message: str
    details_bin: bytes | None = None

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return self.message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return () if self.details_bin is None else (("grpc-status-details-bin", self.details_bin),)


def test_every_reason_has_one_class_and_every_class_a_reason_that_exists() -> None:
    assert sorted(errors.BY_REASON) == sorted(REASONS)
    assert len(set(errors.BY_REASON.values())) == len(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_reasons_class_belongs_to_the_group_of_its_code(reason: str) -> None:
    group = errors.BY_CODE[CODES[code_of(reason)]]
    assert issubclass(errors.BY_REASON[reason], group)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_arrives_as_its_class(brittle: Any, fake: FakeServer, reason: str) -> None:
    status = refusal(reason, f"it was {reason}")
    fake.script = [status]
    fake.refusals["ListModelsRequest"] = [status]
    with pytest.raises(errors.UnrolledError) as streamed:
        brittle.generate("x", max_tokens=1).read()
    with pytest.raises(errors.UnrolledError) as called:
        brittle.models()
    for error in (streamed.value, called.value):
        assert type(error) is errors.BY_REASON[reason]
        assert str(error) == error.message == f"it was {reason}"
        assert error.reason == reason
        assert error.code is CODES[code_of(reason)]
        assert (error.field, error.retry_after_s, error.error_id) == (None, None, None)
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


def test_the_details_of_a_refusal_are_attributes(client: Any, fake: FakeServer) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="sampling.top_p", description="above 0")
    fake.script = [refusal("INVALID_FIELD", "bad", error_details_pb2.BadRequest(field_violations=[violation]))]
    with pytest.raises(errors.InvalidField) as invalid:
        client.generate("x", max_tokens=1).read()
    assert invalid.value.field == "sampling.top_p"

    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
    fake.script = [refusal("QUEUE_FULL", "full", retry)]
    with pytest.raises(errors.QueueFull) as full:
        client.generate("x", max_tokens=1).read()
    assert full.value.retry_after_s == 1.5

    fake.script = [refusal("INTERNAL", "a defect", error_id="e-17")]
    with pytest.raises(errors.InternalError) as defect:
        client.generate("x", max_tokens=1).read()
    assert defect.value.error_id == "e-17"


def test_a_reason_of_a_newer_server_is_its_group(client: Any, fake: FakeServer) -> None:
    fake.script = [refusal("SNAPSHOT_NOT_FOUND", "gone", code=5)]
    with pytest.raises(errors.NotFound) as caught:
        client.generate("x", max_tokens=1).read()
    assert type(caught.value) is errors.NotFound
    assert caught.value.reason == "SNAPSHOT_NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, errors.Cancelled),
        (2, errors.Unreachable),
        (4, errors.DeadlineExceeded),
        (5, errors.NotFound),
        (8, errors.ResourceExhausted),
        (12, errors.UnrolledError),
        (13, errors.Unreachable),
        (14, errors.Unreachable),
        (16, errors.Unauthenticated),
    ],
)
def test_a_status_without_a_reason_is_told_by_its_code(
    brittle: Any, fake: FakeServer, code: int, kind: type[errors.UnrolledError]
) -> None:
    fake.script = [bare_status(code, "somebody on the way said no")]
    with pytest.raises(errors.UnrolledError, match="somebody on the way") as caught:
        brittle.generate("x", max_tokens=1).read()
    assert type(caught.value) is kind
    assert caught.value.reason == ""


def test_a_reason_of_somebody_else_is_not_taken_for_ours(client: Any, fake: FakeServer) -> None:
    fake.script = [refusal("QUEUE_FULL", "elsewhere", domain="proxy.example", error_id="1")]
    with pytest.raises(errors.ResourceExhausted) as caught:
        client.generate("x", max_tokens=1).read()
    assert type(caught.value) is errors.ResourceExhausted
    assert (caught.value.reason, caught.value.error_id) == ("", None)


@given(st.sampled_from(grpc.StatusCode), st.text(), st.binary())
def test_no_bytes_in_the_status_break_the_client(code: grpc.StatusCode, message: str, noise: bytes) -> None:
    error = error_of(Failure(code, message, noise))
    assert error.code is code
    assert error.message


@given(st.binary())
def test_no_bytes_in_a_detail_break_the_client(noise: bytes) -> None:
    status = refusal("SESSION_BUSY", "no")
    status.details[0].value = noise
    error = error_of(Failure(grpc.StatusCode.ABORTED, "no", status.SerializeToString()))
    assert isinstance(error, errors.Aborted)

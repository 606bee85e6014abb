"""Every documented error, provoked once through real gRPC: code, reason, field, retry time.

Those that take more than two calls are provoked where ``ELSEWHERE`` says.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.v1.error_pb2 import ErrorReason
from unrolled.v1.generation_pb2 import GenerateRequest, Sampling, ScoreRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.model_pb2 import GetModelRequest
from unrolled.v1.model_pb2_grpc import ModelServiceStub
from unrolled.v1.session_pb2 import (
    CreateSessionRequest,
    DeleteSessionRequest,
    GetSessionRequest,
    ListSessionsRequest,
)
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import Bundle

TESTS = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "UNAUTHENTICATED": ("integration/test_access.py", "test_a_refusal_is_documented"),
    "PERMISSION_DENIED": ("integration/test_access.py", "test_a_refusal_is_documented"),
    "SESSION_EVICTED": ("integration/test_session_service.py", "test_a_session_that_made_room_says_so"),
    "SESSION_MOVED": (
        "system/test_sessions_survive.py",
        "test_an_owner_that_slept_through_its_lease_has_lost_the_session",
    ),
    "PREEMPTED": (
        "integration/test_session_conflicts.py",
        "test_who_is_preempted_has_the_text_from_which_the_next_call_goes_on",
    ),
    "REWIND_OUT_OF_RANGE": (
        "integration/test_session_service.py",
        "test_a_session_does_not_go_further_than_it_was",
    ),
    "IDEMPOTENCY_CONFLICT": ("integration/test_session_conflicts.py", "test_a_key_with_other_fields_is_a_conflict"),
    "SNAPSHOT_INVALID": (
        "integration/test_session_service.py",
        "test_what_is_no_snapshot_of_this_server_is_refused",
    ),
    "SNAPSHOT_MISMATCH": (
        "integration/test_session_service.py",
        "test_what_is_no_snapshot_of_this_server_is_refused",
    ),
    "STORE_UNAVAILABLE": (
        "integration/test_session_service.py",
        "test_where_the_store_does_not_answer_only_what_needs_it_fails",
    ),
    "READER_STALLED": (
        "integration/test_server.py",
        "test_a_reader_that_stalls_is_ended_and_its_session_is_where_it_stopped",
    ),
    "QUOTA_EXCEEDED": ("integration/test_limits.py", "test_a_tenant_has_so_many_calls_and_sessions_as_it_may"),
    "OVERLOADED": ("integration/test_limits.py", "test_a_call_that_would_come_too_late_is_refused_at_once"),
    "DRAINING": ("integration/test_server.py", "test_a_drain_ends_what_outlasts_the_grace_time"),
    "INTERNAL": ("integration/test_server.py", "test_a_defect_shows_an_id_and_nothing_else"),
    "TASK_MISMATCH": (
        "integration/test_sequence_errors.py",
        "test_a_method_that_a_bundle_is_not_for_names_the_one_that_is",
    ),
}
NAN, INF = float("nan"), float("inf")


@dataclass
class Stubs:
    generation: GenerationServiceStub
    sessions: SessionServiceStub
    models: ModelServiceStub

    def generate(self, **fields: object) -> None:
        for _ in self.generation.Generate(GenerateRequest(**({"prompt": "a", "max_tokens": 1} | fields))):  # type: ignore[arg-type]
            pass

    def score(self, **fields: object) -> None:
        self.generation.Score(ScoreRequest(model="alphabet", **fields))  # type: ignore[arg-type]

    def sample(self, **fields: object) -> None:
        self.generate(model="alphabet", sampling=Sampling(**fields))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stubs(alphabet: Bundle, dice: Bundle) -> Iterator[Stubs]:
    limits = {"max_tokens": 1000, "max_prompt_tokens": 100, "max_sessions": 3, "max_streams": 1}
    with serving(alphabet, dice, **limits) as server, grpc.insecure_channel(server.address) as channel:
        yield Stubs(GenerationServiceStub(channel), SessionServiceStub(channel), ModelServiceStub(channel))


INVALID: dict[str, tuple[Callable[[Stubs], object], str]] = {
    "max_tokens unset": (lambda s: s.generate(max_tokens=0, model="alphabet"), "max_tokens"),
    "max_tokens above": (lambda s: s.generate(max_tokens=1001, model="alphabet"), "max_tokens"),
    "max_tokens at 2^32": (lambda s: s.generate(max_tokens=2**32 - 1, model="alphabet"), "max_tokens"),
    "prompt too long": (lambda s: s.generate(prompt="a" * 101, model="alphabet"), "prompt"),
    "prompt empty": (lambda s: s.generate(prompt="", model="alphabet"), "prompt"),
    "temperature below": (lambda s: s.sample(temperature=-0.1), "sampling.temperature"),
    "temperature tiny": (lambda s: s.sample(temperature=0.001), "sampling.temperature"),
    "temperature above": (lambda s: s.sample(temperature=100.1), "sampling.temperature"),
    "temperature nan": (lambda s: s.sample(temperature=NAN), "sampling.temperature"),
    "temperature inf": (lambda s: s.sample(temperature=INF), "sampling.temperature"),
    "top_k above": (lambda s: s.sample(top_k=2**31), "sampling.top_k"),
    "top_p zero": (lambda s: s.sample(top_p=0), "sampling.top_p"),
    "top_p above": (lambda s: s.sample(top_p=1.01), "sampling.top_p"),
    "top_p nan": (lambda s: s.sample(top_p=NAN), "sampling.top_p"),
    "min_p below": (lambda s: s.sample(min_p=-0.01), "sampling.min_p"),
    "min_p above": (lambda s: s.sample(min_p=1.01), "sampling.min_p"),
    "min_p nan": (lambda s: s.sample(min_p=NAN), "sampling.min_p"),
    "repetition zero": (lambda s: s.sample(repetition_penalty=0), "sampling.repetition_penalty"),
    "repetition above": (lambda s: s.sample(repetition_penalty=100.1), "sampling.repetition_penalty"),
    "presence below": (lambda s: s.sample(presence_penalty=-2.01), "sampling.presence_penalty"),
    "presence inf": (lambda s: s.sample(presence_penalty=-INF), "sampling.presence_penalty"),
    "frequency above": (lambda s: s.sample(frequency_penalty=2.01), "sampling.frequency_penalty"),
    "frequency nan": (lambda s: s.sample(frequency_penalty=NAN), "sampling.frequency_penalty"),
    "bias above": (lambda s: s.sample(logit_bias={"a": 100.1}), "sampling.logit_bias['a']"),
    "bias nan": (lambda s: s.sample(logit_bias={"a": NAN}), "sampling.logit_bias['a']"),
    "bias on no token": (lambda s: s.sample(logit_bias={"ab": 1}), "sampling.logit_bias"),
    "bias on nothing": (lambda s: s.sample(logit_bias={"": 1}), "sampling.logit_bias"),
    "biases too many": (
        lambda s: s.sample(logit_bias={chr(0x4E00 + i): 1 for i in range(1025)}),
        "sampling.logit_bias",
    ),
    "logprobs above": (lambda s: s.generate(logprobs=21, model="alphabet"), "logprobs"),
    "resumed_tokens above": (lambda s: s.generate(resumed_tokens=2, model="alphabet"), "resumed_tokens"),
    "score of nothing": (lambda s: s.score(text=""), "text"),
    "score of one token": (lambda s: s.score(text="a"), "text"),
    "score of too much": (lambda s: s.score(text="a" * 101), "text"),
    "score with idle logprobs": (lambda s: s.score(text="ab", logprobs=1), "logprobs"),
    "score with many logprobs": (lambda s: s.score(text="ab", logprobs=21, per_token=True), "logprobs"),
    "stop empty": (lambda s: s.generate(stop=["x", ""], model="alphabet"), "stop[1]"),
    "stop too long": (lambda s: s.generate(stop=["x" * 65], model="alphabet"), "stop[0]"),
    "stops too many": (lambda s: s.generate(stop=["x"] * 9, model="alphabet"), "stop"),
    "model too long": (lambda s: s.generate(model="m" * 129), "model"),
    "model too long to describe": (lambda s: s.models.GetModel(GetModelRequest(model="m" * 129)), "model"),
    "session_id too long": (lambda s: s.generate(session_id="i" * 65), "session_id"),
    "session_id unset": (lambda s: s.sessions.GetSession(GetSessionRequest()), "session_id"),
    "ttl below": (lambda s: create(s, ttl=Duration(nanos=999_999_999)), "ttl"),
    "ttl negative": (lambda s: create(s, ttl=Duration(seconds=-5)), "ttl"),
    "ttl above": (lambda s: create(s, ttl=Duration(seconds=86_401)), "ttl"),
    "page_size above": (lambda s: s.sessions.ListSessions(ListSessionsRequest(page_size=1001)), "page_size"),
    "page_token foreign": (
        lambda s: s.sessions.ListSessions(ListSessionsRequest(page_token="x")),
        "page_token",
    ),
}


def create(stubs: Stubs, **fields: object) -> str:
    request = CreateSessionRequest(**({"model": "alphabet"} | fields))  # type: ignore[arg-type]
    return str(stubs.sessions.CreateSession(request).session.id)


def delete(stubs: Stubs, session_id: str) -> None:
    stubs.sessions.DeleteSession(DeleteSessionRequest(session_id=session_id))


@pytest.mark.parametrize("case", INVALID)
def test_invalid_field(stubs: Stubs, case: str) -> None:
    call, field = INVALID[case]

    refused = refusal(lambda: call(stubs))

    assert (refused.code, refused.reason, refused.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)
    assert refused.text.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 1000},
        {"prompt": "a" * 100},
        {"sampling": Sampling(temperature=0.01)},
        {"sampling": Sampling(temperature=100)},
        {"sampling": Sampling(top_k=2**31 - 1, top_p=1, min_p=1)},
        {"sampling": Sampling(repetition_penalty=0.01, presence_penalty=-2, frequency_penalty=2)},
        {"sampling": Sampling(repetition_penalty=100, logit_bias={"a": -100, "b": 100})},
        {"logprobs": 20},
        {"prompt": "abc", "resumed_tokens": 3},
        {"stop": ["x" * 64] * 8},
        {"seed": 2**64 - 1},
    ],
)
def test_the_bounds_themselves_are_accepted(stubs: Stubs, fields: dict[str, object]) -> None:
    stubs.generate(model="alphabet", **fields)


def test_unknown_character(stubs: Stubs) -> None:
    refused = refusal(lambda: stubs.generate(prompt="ab7", model="alphabet"))

    assert (refused.code, refused.reason, refused.field) == (
        "INVALID_ARGUMENT",
        "UNKNOWN_CHARACTER",
        "prompt",
    )
    assert "'7' (U+0037), the character at position 2" in refused.text


def test_unknown_characters_elsewhere(stubs: Stubs) -> None:
    bias = refusal(lambda: stubs.sample(logit_bias={"7": 1}))
    text = refusal(lambda: stubs.score(text="ab7"))

    assert (bias.reason, bias.field) == ("UNKNOWN_CHARACTER", "sampling.logit_bias")
    assert (text.reason, text.field) == ("UNKNOWN_CHARACTER", "text")


def test_model_not_found(stubs: Stubs) -> None:
    for call in (
        lambda: stubs.generate(model="nobody"),
        stubs.generate,
        lambda: create(stubs, model="nobody"),
    ):
        refused = refusal(call)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


def test_session_not_found(stubs: Stubs) -> None:
    unknown = "x" * 22
    for call in (
        lambda: stubs.generate(session_id=unknown),
        lambda: stubs.sessions.GetSession(GetSessionRequest(session_id=unknown)),
        lambda: delete(stubs, unknown),
    ):
        refused = refusal(call)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


def test_session_expired(stubs: Stubs) -> None:
    session_id = create(stubs, ttl=Duration(seconds=1))

    def is_listed() -> bool:
        return any(s.id == session_id for s in stubs.sessions.ListSessions(ListSessionsRequest()).sessions)

    wait_until(lambda: not is_listed(), "the session expires")

    refused = refusal(lambda: stubs.generate(session_id=session_id))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "SESSION_EXPIRED")


def test_session_busy_and_queue_full(alphabet: Bundle) -> None:
    endless = 10**7
    with (
        serving(alphabet, max_tokens=endless, max_streams=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stubs = Stubs(GenerationServiceStub(channel), SessionServiceStub(channel), ModelServiceStub(channel))
        session_id = create(stubs)
        stream = stubs.generation.Generate(GenerateRequest(prompt="a", max_tokens=endless, session_id=session_id))
        next(stream)

        busy = refusal(lambda: delete(stubs, session_id))
        full = refusal(lambda: stubs.generate(model="alphabet"))

        assert (busy.code, busy.reason) == ("ABORTED", "SESSION_BUSY")
        assert (full.code, full.reason, full.retry_after_s) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 1.0)
        stream.cancel()


def test_position_mismatch(stubs: Stubs) -> None:
    session_id = create(stubs)

    refused = refusal(lambda: stubs.generate(session_id=session_id, expected_position=7))

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "POSITION_MISMATCH")
    assert refused.text == "expected_position is 7, the session is at 0"
    stubs.generate(session_id=session_id, expected_position=0)
    delete(stubs, session_id)


def test_model_mismatch(stubs: Stubs) -> None:
    session_id = create(stubs)

    refused = refusal(lambda: stubs.generate(session_id=session_id, model="dice"))

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "MODEL_MISMATCH")
    delete(stubs, session_id)


def test_slots_exhausted(stubs: Stubs) -> None:
    made = [create(stubs) for _ in range(3)]

    refused = refusal(lambda: create(stubs))

    assert (refused.code, refused.reason, refused.retry_after_s) == (
        "RESOURCE_EXHAUSTED",
        "SLOTS_EXHAUSTED",
        1.0,
    )
    for session_id in made:
        delete(stubs, session_id)


def test_every_reason_is_provoked_here_or_elsewhere() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number}
    here = {*re.findall(r'"([A-Z_]{8,})"', Path(__file__).read_text())} - {*ELSEWHERE} & reasons
    assert here & reasons | {*ELSEWHERE} == reasons
    for path, test in ELSEWHERE.values():
        assert f"\ndef {test}(" in (TESTS / path).read_text()

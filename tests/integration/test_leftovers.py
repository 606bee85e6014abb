"""A call that has ended leaves nothing to the garbage collector, which stands everything still while it collects."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.session_calls import ENDLESS
from tests.support.windows import SMALL_WINDOW
from unrolled.v1.generation_pb2 import GenerateRequest, ScoreRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.sequence_pb2 import StepRequest
from unrolled.v1.sequence_pb2_grpc import SequenceServiceStub
from unrolled_service.bridge.outbox import Outbox
from unrolled_service.errors import UnrolledError
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc.claim import Claim

OURS = (UnrolledError, Claim, Outbox)
ALL = (*OURS, grpc.aio.AbortError)
CALLS = 20
ASK = GenerateRequest(prompt="a", max_tokens=5)


def generate(channel: grpc.Channel) -> object:
    return list(GenerationServiceStub(channel).Generate(ASK))


def score(channel: grpc.Channel) -> object:
    return GenerationServiceStub(channel).Score(ScoreRequest(text="abc"))


def step(channel: grpc.Channel) -> object:
    return list(SequenceServiceStub(channel).Step(iter([StepRequest()])))


def count_living(kinds: tuple[type, ...]) -> int:
    return sum(issubclass(type(each), kinds) for each in gc.get_objects())


@contextmanager
def leaving_nothing(kinds: tuple[type, ...] = ALL) -> Iterator[None]:
    """Run calls without the collector; what a server has of them must go away by itself, but for the last one's."""
    gc.collect()
    before = count_living(kinds)
    gc.disable()
    try:
        yield
        wait_until(lambda: count_living(kinds) < before + CALLS, "the calls leave nothing behind", limit_s=30)
    finally:
        gc.enable()


@pytest.mark.parametrize("call", [generate, score])
def test_a_call_that_is_served(call: Callable[[grpc.Channel], object], alphabet: Bundle) -> None:
    with serving(alphabet, engine_threads=1) as server, grpc.insecure_channel(server.address) as channel:
        call(channel)
        with leaving_nothing():
            for _ in range(CALLS):
                call(channel)


# What gRPC reads the messages of a call with is a circle, which keeps the exception that it ended the call with.
@pytest.mark.parametrize(
    ("call", "reason", "kinds"),
    [(generate, "QUEUE_FULL", ALL), (score, "QUEUE_FULL", ALL), (step, "TASK_MISMATCH", OURS)],
)
def test_a_call_that_is_refused(
    call: Callable[[grpc.Channel], object], reason: str, kinds: tuple[type, ...], alphabet: Bundle
) -> None:
    with (
        serving(alphabet, engine_threads=1, max_streams=1, max_tokens=ENDLESS) as server,
        grpc.insecure_channel(server.address, options=SMALL_WINDOW) as channel,
    ):
        endless = GenerationServiceStub(channel).Generate(GenerateRequest(prompt="a", max_tokens=ENDLESS))
        next(endless)
        with leaving_nothing(kinds):
            for _ in range(CALLS):
                assert refusal(lambda: call(channel)).reason == reason
        endless.cancel()

"""How calls of SequenceService flow: as fast as both sides go, bounded where one stops, exact where it breaks off."""

import asyncio
import gc
import random
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.integration.test_server import metric
from tests.integration.test_shapes import draw_inputs
from tests.support.calls import Calls, Conversation, messages, pack_inputs
from tests.support.complaints import complaints
from tests.support.reference import Shapes, check_close
from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.shapes import LETTERS, WIDTH
from tests.support.windows import SMALL_WINDOW
from unrolled.v1.sequence_pb2 import ClassifyRequest, Inputs, StepRequest, StepResponse
from unrolled.v1.sequence_pb2_grpc import SequenceServiceStub
from unrolled_client import Client
from unrolled_client.errors import SnapshotInvalid
from unrolled_service.bridge.outbox import Outbox
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc import sequence
from unrolled_service.rpc.claim import Claim
from unrolled_service.rpc.convert_sequences import read_more
from unrolled_service.rpc.relay import relay
from unrolled_service.server import Server

MODELS = ("tagger", "tagger-vectors", "stateless", "classifier")
CROWD = 1000
FLOOD, A_MESSAGE = 100_000, 1000


@pytest.fixture(scope="module")
def server(shapes: Shapes) -> Iterator[Server]:
    with serving(*map(shapes.bundle, MODELS), engine_threads=2) as running:
        yield running


@pytest.fixture
def calls(server: Server) -> Iterator[Calls]:
    with grpc.insecure_channel(server.address) as channel:
        yield Calls(channel)


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(server: Server, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every row is let go of, and neither the event loop nor a handler has anything to complain about."""
    yield
    wait_until(lambda: not (server._workers.streams or server._guard.calls), "every call is over")
    gc.collect()
    assert complaints(caplog.records) == []


def values_of(outputs: list[Any]) -> list[list[float]]:
    return [list(output.values) for output in outputs]


def test_each_input_is_answered_before_the_next_is_there(calls: Calls, shapes: Shapes) -> None:
    inputs = draw_inputs("tagger-vectors", 300, 0)
    talk = Conversation(calls.sequences.Step, StepRequest, model="tagger-vectors")

    outputs = [output for given in inputs for output in talk.ask(pack_inputs([given]))]
    talk.close()

    assert list(talk.call) == []
    check_close(values_of(outputs), shapes.reference("tagger-vectors").read(inputs).outputs)


def test_a_flood_that_nobody_reads_stops(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def read_and_count(request: StepRequest, bundle: Bundle, **options: bool) -> Any:
        nonlocal taken
        inputs = read_more(request, bundle, **options)
        taken += len(inputs)
        return inputs

    async def note_and_relay(claim: Claim, *args: Any, **options: Any) -> None:
        outboxes.append(claim.outbox)
        await relay(claim, *args, **options)

    outboxes: list[Outbox] = []
    monkeypatch.setattr(sequence, "read_more", read_and_count)
    monkeypatch.setattr(sequence, "relay", note_and_relay)
    message = pack_inputs(np.ones((A_MESSAGE, WIDTH)))
    flood = messages(StepRequest, {"model": "stateless"}, [message] * (FLOOD // A_MESSAGE))
    with grpc.insecure_channel(server.address, SMALL_WINDOW) as channel:
        replies = SequenceServiceStub(channel).Step(flood)

        def has_stopped() -> bool:
            return any((since := each._writing_since) and time.monotonic() > since + 1.0 for each in outboxes)

        wait_until(has_stopped, "a write waits for its reader")
        assert A_MESSAGE <= taken <= 20 * A_MESSAGE
        assert len(outboxes[0]._items) <= 256 + 64  # the credit and a slice

        assert sum(len(reply.outputs) for reply in replies) == FLOOD
    assert taken == FLOOD - A_MESSAGE  # and those of the first message


def test_a_caller_that_stops_sending_costs_nothing(server: Server, calls: Calls) -> None:
    talk = Conversation(calls.sequences.Step, StepRequest, model="tagger")
    talk.ask(Inputs(text="abc"))
    session_id = calls.create("tagger")
    slices = metric(server, "unrolled_slice_rows_count")

    for _ in range(50):
        calls.find(session_id)

    assert metric(server, "unrolled_slice_rows_count") == slices
    assert metric(server, "unrolled_streams_active") == 1
    assert len(talk.ask(Inputs(text="abc"))) == 3
    talk.close()


@pytest.mark.parametrize("kind", ["tagger-vectors", "tagger"])
def test_a_call_that_is_cancelled_at_any_moment_leaves_its_session_at_a_delivered_output(
    calls: Calls, shapes: Shapes, kind: str
) -> None:
    chance, session_id, position = random.Random(7), calls.create(kind), 0
    inputs = draw_inputs(kind, 8000, 1)
    reference = shapes.reference(kind)
    for _ in range(40):
        ahead = inputs[position : position + 150]
        pieces = [pack_inputs(ahead[i : i + 50], LETTERS) for i in range(0, len(ahead), 50)]
        talk = Conversation(calls.sequences.Step, StepRequest, session_id=session_id, expected_position=position)
        received = 0
        for piece in pieces[: chance.randrange(1, 4)]:
            talk.send(piece)
            if chance.random() < 0.6:
                received += len(talk.read().outputs)
        talk.call.cancel()
        talk.close()
        wait_until(lambda: not calls.find(session_id).busy, "the session is free")
        now = calls.find(session_id).position
        assert position + received <= now <= position + len(ahead)
        position = now

    wanted = reference.read(inputs[: position + 5]).outputs[position:]
    (*answers,) = calls.step(pack_inputs(inputs[position : position + 5], LETTERS), session_id=session_id)
    outputs = [output for each in answers for output in each.outputs]
    if kind == "tagger-vectors":
        check_close(values_of(outputs), wanted)
    else:
        masses = np.exp(wanted.astype(np.float64))
        check_close([list(each.probabilities) for each in outputs], masses / masses.sum(axis=1, keepdims=True))


def test_a_classification_that_is_cancelled_leaves_its_session_where_it_was(calls: Calls, shapes: Shapes) -> None:
    session_id = calls.create("classifier")
    inputs = draw_inputs("classifier", 60, 1)
    calls.classify(pack_inputs(inputs[:20]), session_id=session_id)
    for i in range(20):
        talk = Conversation(calls.sequences.Classify.future, ClassifyRequest, session_id=session_id)
        for _ in range(i % 4):
            talk.send(pack_inputs(inputs[:i]) if i else None)
        talk.call.cancel()
        talk.close()
        wait_until(lambda: not calls.find(session_id).busy, "the session is free")
        assert calls.find(session_id).position == 20

    answer = calls.classify(pack_inputs(inputs[20:50]), pack_inputs(inputs[50:]), session_id=session_id)
    masses = np.exp(shapes.reference("classifier").read(inputs).outputs[-1].astype(np.float64))
    check_close(list(answer.output.probabilities), masses / masses.sum())
    assert (answer.inputs, answer.position) == (40, 60)


def test_a_deadline_ends_a_call_that_waits(server: Server, calls: Calls) -> None:
    def count_ends() -> float:
        page = server._metrics.registry
        labels = {"method": "/unrolled.v1.SequenceService/Step"}
        codes = ("DEADLINE_EXCEEDED", "CANCELLED")  # either side may be the first to notice
        return sum(page.get_sample_value("unrolled_rpc_total", labels | {"code": code}) or 0 for code in codes)

    session_id, before = calls.create("tagger"), count_ends()
    talk = Conversation(calls.sequences.Step, StepRequest, timeout=2, session_id=session_id)
    assert len(talk.ask(Inputs(text="abcd"))) == 4

    with pytest.raises(grpc.RpcError) as caught:
        talk.read()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: not calls.find(session_id).busy, "the session is free")
    assert calls.find(session_id).position == 4
    wait_until(lambda: count_ends() == before + 1, "it is counted")
    talk.close()


def test_a_caller_that_never_says_anything_holds_nothing(server: Server, calls: Calls) -> None:
    before = server._guard.calls
    talk = Conversation(calls.sequences.Step, StepRequest)
    wait_until(lambda: server._guard.calls == before + 1, "the call has come")

    assert server._workers.streams == 0
    talk.call.cancel()
    talk.close()
    wait_until(lambda: server._guard.calls == before, "the call is over")


def test_a_message_that_is_too_large_ends_the_call_and_the_session_stays(calls: Calls) -> None:
    session_id = calls.create("tagger")
    talk = Conversation(calls.sequences.Step, StepRequest, session_id=session_id)
    assert len(talk.ask(Inputs(text="abcd"))) == 4

    talk.send(Inputs(text="a" * (1 << 21)))

    with pytest.raises(grpc.RpcError) as caught:
        talk.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    talk.close()
    wait_until(lambda: not calls.find(session_id).busy, "the session is free")
    assert calls.find(session_id).position == 4


def test_a_sequence_that_a_refused_message_ends_counts_as_an_error(server: Server, calls: Calls) -> None:
    def count(end: str) -> float:
        return metric(server, f'unrolled_streams_total{{finish="{end}",model="tagger"}}')

    before = [count(end) for end in ("error", "end")]
    with pytest.raises(grpc.RpcError):
        calls.step(Inputs(text="abc"), Inputs(text="?"), model="tagger")
    wait_until(lambda: [count(end) for end in ("error", "end")] == [before[0] + 1, before[1]], "it is counted")


def test_a_sequence_that_its_caller_breaks_off_is_counted_once(server: Server, calls: Calls) -> None:
    def count(end: str) -> float:
        return metric(server, f'unrolled_streams_total{{finish="{end}",model="tagger"}}')

    def total() -> float:
        return sum(map(count, ("cancelled", "error", "end")))

    before, cancelled, errors = total(), count("cancelled"), count("error")
    for _ in range(20):
        talk = Conversation(calls.sequences.Step, StepRequest, model="tagger")
        talk.ask(Inputs(text="abc"))
        talk.call.cancel()
    wait_until(lambda: total() >= before + 20, "all are counted")
    calls.step(Inputs(text="abc"), model="tagger")
    assert total() == before + 21
    assert count("error") == errors
    assert count("cancelled") > cancelled  # not all: to a server that has not heard of it yet, its inputs are at an end


def test_what_is_read_is_counted(server: Server, calls: Calls) -> None:
    def count(name: str) -> tuple[float, ...]:
        return tuple(
            metric(server, f'unrolled_{each},model="{name}"}}' if "finish" in each else each)
            for each in (
                f'unrolled_tokens_total{{model="{name}",phase="prompt"}}',
                f'unrolled_tokens_total{{model="{name}",phase="generated"}}',
                'streams_total{finish="end"',
            )
        )

    before = {name: count(name) for name in MODELS}
    calls.step(Inputs(text="abc" * 100), Inputs(text="g"), model="tagger")
    for _ in range(2):
        calls.classify(pack_inputs(np.ones((7, WIDTH))), model="classifier")

    def has_moved(name: str, tokens: int, ends: int) -> bool:
        return tuple(np.subtract(count(name), before[name])) == (tokens, 0, ends)

    wait_until(lambda: has_moved("tagger", 301, 1) and has_moved("classifier", 14, 2), "it is counted")
    refusal(lambda: calls.step(Inputs(text="!"), model="tagger"))
    assert has_moved("tagger", 301, 1)
    assert has_moved("stateless", 0, 0)


def test_a_thousand_calls_wait_for_their_callers_at_once(server: Server, shapes: Shapes) -> None:
    inputs = draw_inputs("tagger-vectors", 2 * CROWD, 3).reshape(CROWD, 2, WIDTH)

    async def crowd() -> list[list[Any]]:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = SequenceServiceStub(channel)
            talks = [stub.Step() for _ in range(CROWD)]
            answers: list[list[Any]] = [[] for _ in range(CROWD)]
            for turn in range(2):
                for talk, given in zip(talks, inputs, strict=True):
                    opening = {} if turn else {"opening": {"model": "tagger-vectors"}}
                    await talk.write(StepRequest(inputs=pack_inputs(given[turn : turn + 1]), **opening))
                for talk, heard in zip(talks, answers, strict=True):
                    reply: StepResponse = await talk.read()
                    heard.extend(reply.outputs)
            assert server._workers.streams == CROWD
            for talk in talks:
                await talk.done_writing()
            for talk in talks:
                assert await talk.read() is grpc.aio.EOF
            return answers

    answers = asyncio.run(crowd())

    for i in range(0, CROWD, 97):
        check_close(values_of(answers[i]), shapes.reference("tagger-vectors").read(inputs[i]).outputs)
    assert len({str(values_of(each)) for each in answers}) == CROWD


def test_what_could_not_be_imported_is_not_exported(shapes: Shapes) -> None:
    with (
        serving(shapes.bundle("tagger-vectors"), rewind_tokens=1_000_000) as server,
        grpc.insecure_channel(server.address) as channel,
        Client(server.address) as client,
        client.session() as session,
    ):
        calls, most = Calls(channel), pack_inputs(np.zeros((4096, WIDTH)))
        calls.step(*[most] * 20, session_id=session.id)
        assert client.restore(session.snapshot()).position == 81_920
        calls.step(most, session_id=session.id)

        with pytest.raises(SnapshotInvalid, match=r"has 103[0-9]{4} bytes, at most 1000000 can be imported"):
            session.snapshot()
        calls.rewind(session.id, 81_920)
        assert client.restore(session.snapshot()).position == 81_920

"""How calls of SequenceService meet sessions, each other, a draining server and defects."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.calls import Calls, Conversation, messages, pack_inputs
from tests.support.reference import Shapes, check_close
from tests.support.refusals import check_invalid, refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.shapes import LETTERS, NAMES, WIDTH
from unrolled.v1.generation_pb2 import Conditioning, GenerateRequest
from unrolled.v1.sequence_pb2 import ClassifyRequest, Inputs, StepRequest, StepResponse
from unrolled_service.graphs.sequence_program import SequenceProgram
from unrolled_service.server import Server

MODELS = ("tagger", "tagger-vectors", "stateless", "classifier", "drawer")


@pytest.fixture(scope="module")
def server(shapes: Shapes) -> Iterator[Server]:
    with serving(*map(shapes.bundle, MODELS), engine_threads=1, max_tokens=10**6) as running:
        yield running


@pytest.fixture
def calls(server: Server) -> Iterator[Calls]:
    with grpc.insecure_channel(server.address) as channel:
        yield Calls(channel)


def many(count: int) -> Inputs:
    return pack_inputs(np.zeros((count, WIDTH)))


def test_a_session_belongs_to_its_bundle(calls: Calls) -> None:
    session_id = calls.create("tagger-vectors")

    refused = refusal(lambda: calls.step(many(1), model="stateless", session_id=session_id))

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "MODEL_MISMATCH")
    wrong = refusal(lambda: calls.classify(many(1), session_id=session_id))
    assert (wrong.reason, wrong.method) == ("TASK_MISMATCH", "SequenceService.Step")
    assert calls.find(session_id).position == 0


def test_a_session_that_is_elsewhere(calls: Calls) -> None:
    session_id = calls.create("tagger")
    calls.step(Inputs(text="abc"), session_id=session_id)

    refused = refusal(lambda: calls.step(Inputs(text="a"), session_id=session_id, expected_position=2))
    thrown_away = refusal(lambda: calls.step(Inputs(text="a"), model="tagger", expected_position=1))

    assert (refused.code, refused.reason, refused.position) == ("FAILED_PRECONDITION", "POSITION_MISMATCH", 3)
    assert thrown_away.reason == "POSITION_MISMATCH"
    assert [each.position for each in calls.step(Inputs(text="a"), session_id=session_id, expected_position=3)] == [4]


@pytest.mark.parametrize(
    ("spoil", "reason", "field"),
    [
        (Inputs(text="xyz"), "UNKNOWN_CHARACTER", "inputs.text"),
        (Inputs(), "INVALID_FIELD", "inputs"),
        (many(1), "INVALID_FIELD", "inputs.vectors"),
        (b"\xff\xff\xff", "INVALID_FIELD", "request"),
    ],
)
def test_what_comes_before_a_refused_message_is_answered_and_kept(
    server: Server, shapes: Shapes, spoil: Inputs | bytes, reason: str, field: str
) -> None:
    text = "abcdefg" * 100
    with grpc.insecure_channel(server.address) as channel:
        calls = Calls(channel)
        session_id = calls.create("tagger")
        pieces = [Inputs(text=text[i : i + 70]) for i in range(0, 700, 70)]
        raw = [each.SerializeToString() for each in messages(StepRequest, {"session_id": session_id}, pieces)]
        raw.append(spoil if isinstance(spoil, bytes) else StepRequest(inputs=spoil).SerializeToString())
        raw.append(StepRequest(inputs=Inputs(text="a")).SerializeToString())
        stub = channel.stream_stream("/unrolled.v1.SequenceService/Step")
        answers: list[StepResponse] = []

        def read() -> None:
            for each in stub(iter(raw)):
                answers.append(StepResponse.FromString(each))

        refused = refusal(read)

        check_invalid(refused, field, reason)
        assert refused.position == 700
        outputs = [output for each in answers for output in each.outputs]
        wanted = shapes.reference("tagger").read(np.array([LETTERS.index(letter) for letter in text]))
        assert [output.label for output in outputs] == [NAMES[i] for i in wanted.outputs.argmax(axis=1)]
        assert answers[-1].position == calls.find(session_id).position == 700
        (more,) = calls.step(Inputs(text="g"), session_id=session_id, expected_position=700)
        after = shapes.reference("tagger").read(np.array([LETTERS.index(letter) for letter in text + "g"]))
        logits = after.outputs[-1].astype(np.float64)
        check_close(list(more.outputs[0].probabilities), np.exp(logits) / np.exp(logits).sum())


def test_a_refused_message_leaves_a_classified_session_where_it_was(calls: Calls) -> None:
    session_id = calls.create("classifier")
    first = calls.classify(many(3), session_id=session_id)
    assert (first.inputs, first.position) == (3, 3)

    refused = refusal(lambda: calls.classify(many(5), many(7), pack_inputs([[1.0]]), session_id=session_id))

    check_invalid(refused, "inputs.vectors[0].values")
    assert refused.position == 3
    assert calls.find(session_id).position == 3
    assert calls.classify(many(1), session_id=session_id).position == 4


Begin = Callable[[Calls, str, bool], Callable[..., object]]


def begin_step(calls: Calls, session_id: str, preempt: bool) -> Callable[[], object]:
    talk = Conversation(calls.sequences.Step, StepRequest, session_id=session_id, preempt=preempt)
    talk.send(many(1))

    def finish() -> object:
        talk.close()
        return list(talk.call)

    talk.read()
    return finish


def begin_classify(calls: Calls, session_id: str, preempt: bool) -> Callable[[], object]:
    talk = Conversation(calls.sequences.Classify.future, ClassifyRequest, session_id=session_id, preempt=preempt)
    talk.send(many(1))

    def finish(*, is_taken_over: bool = False) -> object:
        if is_taken_over:  # or its answer might be there before the other call is
            wait_until(talk.call.done, "the other call has taken its place")
        talk.close()
        return talk.call.result()

    wait_until(lambda: calls.find(session_id).busy or talk.call.done(), "the call has begun")
    return finish


def begin_generate(calls: Calls, session_id: str, preempt: bool) -> Callable[[], object]:
    condition = None if calls.find(session_id).position else Conditioning(label=NAMES[0])
    fields: dict[str, Any] = {"condition": condition, "preempt": preempt, "max_tokens": 10**6}
    call = calls.generations.Generate(GenerateRequest(session_id=session_id, **fields))
    next(call)

    def finish() -> object:
        calls.generate(session_id=session_id, max_tokens=1, preempt=True)
        return list(call)

    return finish


@pytest.mark.parametrize(
    ("kind", "begin"), [("tagger-vectors", begin_step), ("classifier", begin_classify), ("drawer", begin_generate)]
)
def test_a_busy_session_and_who_takes_it_over(calls: Calls, kind: str, begin: Begin) -> None:
    session_id = calls.create(kind)
    before = {"classifier": 0}.get(kind)
    first = begin(calls, session_id, False)
    assert calls.find(session_id).busy

    ask: dict[str, Callable[..., object]] = {
        "tagger-vectors": lambda **more: calls.step(many(1), session_id=session_id, **more),
        "classifier": lambda **more: calls.classify(many(1), session_id=session_id, **more),
        "drawer": lambda **more: calls.generate(session_id=session_id, max_tokens=1, **more),
    }
    busy = refusal(ask[kind])
    assert (busy.code, busy.reason) == ("ABORTED", "SESSION_BUSY")

    second = begin(calls, session_id, True)
    preempted = refusal(partial(first, is_taken_over=True) if kind == "classifier" else first)
    assert (preempted.code, preempted.reason) == ("ABORTED", "PREEMPTED")
    assert preempted.position is not None
    if before is not None:
        assert preempted.position == before
    if kind != "drawer":
        second()
        assert calls.find(session_id).position == {"tagger-vectors": 2, "classifier": 1}[kind]
    else:
        assert refusal(second).reason == "PREEMPTED"


def test_a_session_of_a_running_call_is_not_moved_from_under_it(calls: Calls) -> None:
    session_id = calls.create("tagger-vectors")
    finish = begin_step(calls, session_id, False)

    assert refusal(lambda: calls.rewind(session_id, 0)).reason == "SESSION_BUSY"
    finish()
    assert calls.rewind(session_id, 0).position == 0


def test_a_draining_server_refuses_new_calls_and_ends_those_that_wait_for_inputs(shapes: Shapes) -> None:
    with serving(*map(shapes.bundle, ("tagger", "classifier", "translator"))) as server:
        channel = grpc.insecure_channel(server.address)
        calls = Calls(channel)
        session_id = calls.create("tagger")
        talk = Conversation(calls.sequences.Step, StepRequest, session_id=session_id)
        assert len(talk.ask(Inputs(text="abc"))) == 3
        reading = Conversation(calls.sequences.Classify.future, ClassifyRequest, model="classifier")
        reading.send(many(1))
        wait_until(lambda: sum(worker.engine.streams for worker in server._workers) == 2, "both calls have begun")
        for worker in server._workers:
            worker.engine.is_draining = True
        for call in (
            lambda: calls.step(Inputs(text="a"), model="tagger"),
            lambda: calls.classify(many(1), model="classifier"),
            lambda: calls.transduce(model="translator", source=Inputs(text="a")),
        ):
            refused = refusal(call)
            assert (refused.code, refused.reason) == ("UNAVAILABLE", "DRAINING")
    ended, unread = refusal(talk.read), refusal(reading.call.result)
    assert (ended.reason, ended.position) == ("DRAINING", 3)
    assert unread.reason == "DRAINING"
    channel.close()


def test_a_defect_ends_the_calls_that_run_and_those_that_end_at_that_moment(
    shapes: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(shapes.bundle("tagger"), shapes.bundle("stateless")) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        calls = Calls(channel)
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise RuntimeError("canary")

            patch.setattr(SequenceProgram, "run", fail)
            for model, inputs in (("tagger", Inputs(text="abc")), ("stateless", many(2))):
                refused = refusal(partial(calls.step, inputs, model=model))
                assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")
                assert "canary" not in refused.text
        assert len(calls.step(many(2), model="stateless")[-1].outputs) > 0


def test_a_defect_in_the_reading_of_a_message_ends_the_call(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    talk = Conversation(calls.sequences.Step, StepRequest, model="tagger")
    talk.ask(Inputs(text="a"))
    monkeypatch.setattr("unrolled_service.rpc.sequence.read_more", fail)
    talk.send(Inputs(text="a"))

    refused = refusal(talk.read)

    assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")

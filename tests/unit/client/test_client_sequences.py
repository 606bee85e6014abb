"""Inputs read and answered, over the wire, by a server whose answers are sums."""

import asyncio
import gc
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.complaints import complaints
from tests.support.server import wait_until
from tests.unit.client.fake_sequences import MAX_BYTES, MAX_INPUTS, NAMES, vectors
from tests.unit.client.fake_server import PATIENCE_S, FakeServer, bare_session, bare_status, refusal
from unrolled.v1 import generation_pb2, sequence_pb2
from unrolled_client import Activations, AsyncClient, Client, Output, errors
from unrolled_client.wire.inputs import cut_all

CUT = bare_status(14, "cut")
ROWS = [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]
EQUALS: dict[str, Any] = {
    "lists": ROWS,
    "tuples": tuple(map(tuple, ROWS)),
    "an array": np.array(ROWS, np.float32),
    "arrays": [np.array(row) for row in ROWS],
    "groups": [ROWS[:2], ROWS[2:]],
    "an array of groups": [np.array(ROWS[:2]), np.array(ROWS[2:])],
}


def labels(text: str) -> list[str]:
    return [NAMES[total % 2] for total in accumulate(ord(letter) - ord("a") + 1 for letter in text)]


def test_every_letter_is_answered(client: Any, fake: FakeServer) -> None:
    with client.step("abcab", model="sums") as steps:
        first = next(iter(steps))
        assert (first.label, first.probability, steps.position) == ("odd", 0.75, 1)
        assert [each.label for each in steps] == labels("abcab")[1:]
    assert steps.position == 5
    assert steps.read() == ()
    partly = client.step("abcab", model="sums")
    next(iter(partly))
    assert [each.label for each in partly.read()] == labels("abcab")[1:]
    wanted = sequence_pb2.StepRequest(
        opening=sequence_pb2.Opening(model="sums"), inputs=sequence_pb2.Inputs(text="abcab")
    )
    assert fake.requests == 2 * [wanted]


@pytest.mark.parametrize("form", EQUALS)
def test_vectors_may_be_lists_or_arrays(client: Any, fake: FakeServer, form: str) -> None:
    fake.sequences.gives_numbers = True
    outputs = client.step(EQUALS[form]).read()
    assert outputs == (Output(values=(3.0, 1.0)), Output(values=(10.0, 2.0)), Output(values=(11.0, 3.0)))
    sent = [vector for request in fake.requests for vector in request.inputs.vectors]
    assert sent == vectors(*ROWS)
    assert len(fake.requests) == (2 if "groups" in form else 1)
    assert client.classify(EQUALS[form]).values == (11.0, 3.0)


def test_items_of_an_iterable_travel_by_themselves(client: Any, fake: FakeServer) -> None:
    assert len(client.step(iter(["ab", "c"])).read()) == 3
    assert [each.inputs.text for each in fake.requests] == ["", "ab", "c"]
    assert [each.HasField("opening") for each in fake.requests] == [True, False, False]
    assert len(client.step(iter([[1.0, 2.0], [[3.0], [4.0]], np.ones(2)])).read()) == 4
    assert [len(each.inputs.vectors) for each in fake.requests[3:]] == [0, 1, 2, 1]
    assert len(client.step(["ab", "c"]).read()) == 3
    assert [each.inputs.text for each in fake.requests[7:]] == ["ab", "c"]


def test_the_opening_does_not_wait_for_the_first_input(client: Any, fake: FakeServer) -> None:
    def late() -> Iterator[str]:
        wait_until(lambda: len(fake.requests) == 1, "the opening is there")
        yield "ab"

    assert [each.label for each in client.step(late()).read()] == labels("ab")


def test_a_long_sequence_is_cut_into_messages(client: Any, fake: FakeServer) -> None:
    steps = client.step("ab" * 5_000).read()
    assert [each.label for each in steps] == labels("ab" * 5_000)
    assert client.classify("ab" * 5_000).inputs == 10_000
    assert [len(each.inputs.text) for each in fake.requests] == 2 * [MAX_INPUTS, MAX_INPUTS, 10_000 - 2 * MAX_INPUTS]


@settings(max_examples=10)
@given(st.integers(1, 3_000), st.integers(1, 9_000))
def test_messages_keep_within_both_limits_and_lose_nothing(width: int, count: int) -> None:
    count = min(count, 1_000_000 // width + 1)
    messages = [*cut_all(np.arange(count * width, dtype=np.float32).reshape(count, width))]
    assert all(1 <= len(each.vectors) <= MAX_INPUTS for each in messages)
    assert all(each.ByteSize() < MAX_BYTES - 2_000 for each in messages)
    written = [number for each in messages for vector in each.vectors for number in vector.values]
    assert written == [*range(count * width)]
    limit = min(MAX_INPUTS, 1_000_000 // (4 * width + 16))
    assert len(messages) <= count // limit + 1


def test_inputs_may_wait_for_the_answers_before_them(fake: FakeServer) -> None:
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    with Client(fake.target) as client, client.step(iter(waiting.get, None)) as steps:
        said = []
        for letter in "abcd":
            waiting.put(letter)
            said.append(next(steps).label)
        waiting.put(None)
        assert list(steps) == []
    assert said == labels("abcd")


def test_asynchronous_inputs_may_wait_for_the_answers_before_them(fake: FakeServer) -> None:
    async def scenario() -> list[str]:
        answered: asyncio.Queue[str] = asyncio.Queue()

        async def letters() -> AsyncIterator[str]:
            for letter in "abcd":
                yield letter
                said.append(await answered.get())

        said: list[str] = []
        async with AsyncClient(fake.target) as client, client.step(letters()) as steps:
            async for output in steps:
                answered.put_nowait(output.label)
        async with AsyncClient(fake.target) as client:
            assert (await client.classify(once("ab"))).inputs == 2
        return said

    assert asyncio.run(scenario()) == labels("abcd")


async def once(text: str) -> AsyncIterator[str]:
    yield text


def test_asynchronous_inputs_need_the_asynchronous_client(fake: FakeServer) -> None:
    with Client(fake.target) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.classify(once("ab"))  # type: ignore[arg-type]


def test_no_inputs_are_an_opening_alone(client: Any, fake: FakeServer) -> None:
    assert client.step(iter(())).read() == ()
    nothings: list[Any] = ["", [], iter(()), iter([""])]
    for nothing in nothings:
        with pytest.raises(errors.InvalidField) as caught:
            client.classify(nothing)
        assert caught.value.field == "inputs"
    assert [each.HasField("opening") for each in fake.requests] == [True] * 5 + [False]


@pytest.mark.parametrize("nonsense", [7, [1.0, 2.0, "a"], [None], [[[[1.0]]]], [["a"]], {"a": 1}.items()])
def test_what_is_no_input_is_refused_here(client: Any, nonsense: Any) -> None:
    with pytest.raises(TypeError):
        client.classify(nonsense)
    with pytest.raises(TypeError):
        client.step(nonsense).read()


def failing(fault: Exception, *items: Any) -> Iterator[Any]:
    yield from items
    raise fault


@pytest.mark.parametrize("inputs", [lambda: failing(KeyError("mine"), "a", "b"), lambda: iter(["a", 7])])
def test_what_goes_wrong_with_inputs_is_raised_and_nothing_is_answered(
    client: Any, caplog: pytest.LogCaptureFixture, inputs: Callable[[], Iterable[Any]]
) -> None:
    for _ in range(10):
        with pytest.raises((KeyError, TypeError), match=r"mine|7"):
            client.classify(inputs())
    steps = client.step(inputs())
    for _ in range(2):
        with pytest.raises((KeyError, TypeError), match=r"mine|7"):
            steps.read()
    assert steps.is_over
    gc.collect()
    assert complaints(caplog.records) == []


def test_a_sequence_is_classified(client: Any) -> None:
    answer = client.classify("abc")
    assert (answer.label, answer.probability, answer.probabilities) == ("even", 0.75, (0.75, 0.25))
    assert (answer.inputs, answer.position, answer.values) == (3, 3, ())
    assert [*client.classify("a").ranked(NAMES).items()] == [("odd", 0.75), ("even", 0.25)]
    with pytest.raises(ValueError, match="longer"):
        answer.ranked(["even"])


@pytest.mark.parametrize(
    ("watched", "units"),
    [(("h0", [1]), [1]), (Activations("h0", (0, 1)), [0, 1]), ("h0", []), (("h0", np.array([1, 0])), [1, 0])],
)
def test_activations_are_reported_when_asked_for(client: Any, fake: FakeServer, watched: Any, units: list[int]) -> None:
    sums = [(1.0, 1.0), (3.0, 2.0)]
    wanted = [tuple(each[place] for place in units or [0, 1]) for each in sums]
    assert [each.activations for each in client.step("ab", activations=watched).read()] == wanted
    assert client.classify("ab", activations=watched).output.activations == wanted[-1]
    assert fake.requests[0].opening.activations == generation_pb2.Activations(state="h0", units=units)


@pytest.mark.parametrize("watched", [7, ("h0",), (1, [2]), ("h0", 3)])
def test_what_is_no_state_and_units_is_refused_here(client: Any, watched: Any) -> None:
    with pytest.raises(TypeError):
        client.step("a", activations=watched)


def test_a_session_goes_on_from_call_to_call(client: Any, fake: FakeServer) -> None:
    with client.session() as session:
        assert [each.label for each in session.step("abc").read()] == labels("abc")
        assert session.position == 3
        answer = session.classify("ab", expected_position=3, preempt=True)
        assert (answer.inputs, answer.position, session.position) == (2, 5, 5)
        assert answer.label == labels("abcab")[-1]
        steps = session.step("b", expected_position=4)
        with pytest.raises(errors.PositionMismatch) as caught:
            steps.read()
        assert caught.value.position == 5
        openings = [each.opening for each in fake.requests if isinstance(each, sequence_pb2.ClassifyRequest)]
        assert openings == [sequence_pb2.Opening(session_id="s0", expected_position=3, preempt=True)]
        assert fake.metadata[1]["x-session-id"] == "s0"


def test_leaving_the_block_cancels_and_the_session_is_at_the_last_answer(client: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = bare_session("s0")
    session = client.open_session("s0")
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    waiting.put("ab")
    if isinstance(client, Client):
        with session.step(iter(waiting.get, None)) as steps:
            assert next(iter(steps)).label == "odd"
            assert (steps.position, session.position) == (1, 2)
        assert fake.sequences.ended.wait(PATIENCE_S)
        waiting.put("c")
    else:
        steps = session.step("ab" * 9_000)
        next(iter(steps))
        session.close()
    assert steps.is_over
    for _ in range(2):
        with pytest.raises(errors.Cancelled, match="this program closed"):
            next(iter(steps))


def test_a_dropped_call_is_cancelled(client: Any, fake: FakeServer) -> None:
    steps = client.step("ab" * 100_000)
    next(iter(steps))
    del steps
    deadline = time.monotonic() + PATIENCE_S
    while not fake.sequences.ended.wait(0.1):  # a thread that works for the call may hold it a little longer
        assert time.monotonic() < deadline
        gc.collect()


def test_a_dropped_call_whose_inputs_wait_is_cancelled(fake: FakeServer) -> None:
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    waiting.put("a")
    with Client(fake.target) as client:
        steps = client.step(iter(waiting.get, None))
        next(steps)
        del steps
        gc.collect()
        assert fake.sequences.ended.wait(PATIENCE_S)
        waiting.put(None)


def test_a_call_that_was_not_answered_is_made_again_where_that_is_harmless(hasty: Any, fake: FakeServer) -> None:
    fake.sequences.breaks = [(0, CUT), (0, refusal("DRAINING"))]
    assert [each.label for each in hasty.step("abc").read()] == labels("abc")
    fake.lost_replies["ClassifyRequest"] = [CUT, refusal("SESSION_MOVED")]
    assert hasty.classify("abc").inputs == 3
    assert len(fake.requests) == 6
    fake.sequences.breaks = [(0, CUT)] * 4
    with pytest.raises(errors.Unreachable):
        hasty.step("abc").read()
    assert fake.sequences.breaks == []


def test_an_answered_call_a_session_and_inputs_that_come_are_not_sent_again(hasty: Any, fake: FakeServer) -> None:
    fake.sessions["s0"] = bare_session("s0")
    session = hasty.open_session("s0")
    for reader, inputs, after in ((hasty, "abc", 1), (hasty, iter(["abc"]), 0), (session, "abc", 0)):
        fake.sequences.breaks = [(after, CUT)]
        with pytest.raises(errors.Unreachable):
            reader.step(inputs).read()
    more: list[tuple[Any, Any]] = [(hasty, iter(["ab"])), (session, "ab")]
    for reader, inputs in more:
        fake.lost_replies["ClassifyRequest"] = [CUT]
        with pytest.raises(errors.Unreachable):
            reader.classify(inputs)
    assert [each.HasField("opening") for each in fake.requests].count(True) == 5


def test_without_a_policy_a_break_is_final(brittle: Any, fake: FakeServer) -> None:
    fake.sequences.breaks = [(0, CUT)]
    with pytest.raises(errors.Unreachable):
        brittle.step("abc").read()
    fake.lost_replies["ClassifyRequest"] = [CUT]
    with pytest.raises(errors.Unreachable):
        brittle.classify("abc")


def test_answers_before_an_error_are_given_first_when_iterated(client: Any, fake: FakeServer) -> None:
    fake.sequences.breaks = [(2, refusal("INTERNAL", error_id="e-1"))]
    said: list[str] = []
    with pytest.raises(errors.InternalError), client.step("abc") as steps:
        said.extend(output.label for output in steps)
    assert said == labels("ab")


def test_calls_of_the_wrong_shape_name_the_right_one(client: Any, fake: FakeServer) -> None:
    fake.refusals["StepRequest"] = [refusal("TASK_MISMATCH", "use Classify", method="Classify")]
    with pytest.raises(errors.TaskMismatch) as caught:
        client.step("a").read()
    assert caught.value.method == "Classify"


def test_deadlines_hold(client: Any, fake: FakeServer) -> None:
    client.step("a", timeout=50).read()
    client.classify("a", timeout=60)
    assert 40 < (fake.deadlines_s[0] or 0) < 55 < (fake.deadlines_s[1] or 0) < 65


def test_a_source_is_answered_with_a_target(client: Any, fake: FakeServer) -> None:
    with client.transduce("abc", model="m", max_tokens=9, stop="x", seed=4, logprobs=1, timeout=50) as stream:
        assert list(stream) == ["C", "B", "A"]
    assert (stream.finish.reason, stream.finish.prompt_tokens, stream.finish.generated_tokens) == ("end", 3, 3)
    wanted = sequence_pb2.TransduceRequest(model="m", max_tokens=9, stop=["x"], seed=4, logprobs=1)
    wanted.source.text = "abc"
    assert fake.requests == [wanted]
    assert client.transduce("ab", temperature=0.5).read() == "BA"
    assert fake.requests[1].sampling == generation_pb2.Sampling(temperature=0.5)


def test_vectors_are_transduced_to_vectors(client: Any) -> None:
    stream = client.transduce(np.array(ROWS))
    assert stream.read() == ""
    assert stream.vectors == tuple(map(tuple, reversed(ROWS)))


@pytest.mark.parametrize("source", ["abcd", [[1.0], [2.0], [3.0], [4.0]]])
def test_a_broken_target_is_whole_all_the_same(hasty: Any, fake: FakeServer, source: Any) -> None:
    whole = hasty.transduce(source)
    text = whole.read()
    fake.sequences.breaks = [(2, CUT), (1, CUT), (4, CUT)]
    stream = hasty.transduce(source)
    chunks = list(stream.chunks())
    assert (stream.text, stream.vectors) == (text, whole.vectors)
    assert len(chunks) == 4
    assert stream.resumes == 3
    assert len({each.seed for each in fake.requests[1:]}) == 1

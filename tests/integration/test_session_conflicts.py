"""Calls that meet another one on their session, come twice, expect another position, or lose their caller."""

import asyncio
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.support.alphabet import greedy_text
from tests.support.refusals import Refusal, refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.session_calls import HELLO, LIMITS, Caller
from unrolled.v1 import session_pb2 as wire
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server
from unrolled_service.storage.custody import Custody


@pytest.fixture(scope="module")
def server(alphabet: Bundle) -> Iterator[Server]:
    with serving(alphabet, **LIMITS) as running:
        yield running


EXPECTING: dict[str, Callable[[Caller, str, int], object]] = {
    "generate": lambda c, s, p: c.generate(s, expected_position=p),
    "fork": lambda c, s, p: c.fork(s, expected_position=p),
    "rewind": lambda c, s, p: c.rewind(s, 10, expected_position=p),
    "export": lambda c, s, p: c.export(s, expected_position=p),
    "delete": lambda c, s, p: c.delete(s, expected_position=p),
}


@pytest.mark.parametrize("call", EXPECTING)
def test_a_call_does_nothing_where_the_session_is_elsewhere(caller: Caller, session_id: str, call: str) -> None:
    sessions = len(caller.page().sessions)
    for expected in (0, 34, 36, 2**64 - 1):
        refused = refusal(lambda expected=expected: EXPECTING[call](caller, session_id, expected))  # type: ignore[misc]
        assert (refused.code, refused.reason, refused.position) == ("FAILED_PRECONDITION", "POSITION_MISMATCH", 35)
    assert caller.get(session_id).position == 35
    assert len(caller.page().sessions) == sessions
    EXPECTING[call](caller, session_id, 35)
    for each in caller.page().sessions[sessions:]:
        caller.delete(each.id)


def test_a_session_on_which_a_stream_runs_is_busy(caller: Caller, session_id: str) -> None:
    stream = caller.stream(session_id)
    next(stream)
    calls: list[Callable[[], object]] = [
        lambda: caller.delete(session_id),
        lambda: caller.rewind(session_id, 5),
        lambda: caller.generate(session_id),
    ]
    for call in calls:
        refused = refusal(call)
        assert (refused.code, refused.reason) == ("ABORTED", "SESSION_BUSY")
    stream.cancel()


REPEATED: dict[str, Callable[[Caller, str, str], list[str]]] = {
    "create": lambda c, _, key: [c.create(idempotency_key=key).id],
    "fork": lambda c, s, key: [copy.id for copy in c.fork(s, count=2, idempotency_key=key)],
    "import": lambda c, s, key: [c.restore(c.export(s).snapshot, idempotency_key=key).id],
}


@pytest.mark.parametrize("call", REPEATED)
def test_a_call_that_is_made_again_returns_the_same_sessions(caller: Caller, session_id: str, call: str) -> None:
    first = REPEATED[call](caller, session_id, f"{call}-{session_id}")
    again = REPEATED[call](caller, session_id, f"{call}-{session_id}")
    other = REPEATED[call](caller, session_id, f"{call}-other-{session_id}")
    unnamed = [REPEATED[call](caller, session_id, "") for _ in range(2)]

    assert first == again
    assert len({*first, *other, *unnamed[0], *unnamed[1]}) == 4 * len(first)
    for each in (*first, *other, *unnamed[0], *unnamed[1]):
        caller.delete(each)


def test_a_key_with_other_fields_is_a_conflict(caller: Caller, session_id: str) -> None:
    made = caller.create(seed=1, idempotency_key=f"key-{session_id}").id
    calls: list[Callable[[], object]] = [
        lambda: caller.create(seed=2, idempotency_key=f"key-{session_id}"),
        lambda: caller.fork(session_id, idempotency_key=f"key-{session_id}"),
        lambda: caller.restore(b"x", idempotency_key=f"key-{session_id}"),
    ]
    for call in calls:
        refused = refusal(call)
        assert (refused.code, refused.reason) == ("ABORTED", "IDEMPOTENCY_CONFLICT")
    caller.delete(made)


def test_a_refused_call_leaves_its_key_free(caller: Caller, session_id: str) -> None:
    refused = refusal(lambda: caller.create(model="nobody", idempotency_key=f"free-{session_id}"))
    assert refused.reason == "MODEL_NOT_FOUND"
    made = caller.create(idempotency_key=f"free-{session_id}").id
    caller.delete(made)


def read_to_its_end(stream: grpc.Call, text: str) -> tuple[str, Refusal]:
    """Return all the text of a stream that must be stopped, and how it was."""

    def read() -> None:
        nonlocal text
        for event in stream:
            text += event.chunk.text

    refused = refusal(read)
    return text, refused


@pytest.mark.parametrize("seed", range(4))
def test_who_is_preempted_has_the_text_from_which_the_next_call_goes_on(caller: Caller, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(50):
        session_id = caller.create().id
        stream = caller.stream(session_id, HELLO, max_chunk_tokens=draw.choice([0, 1, 3]))
        begun = "".join(next(stream).chunk.text for _ in range(draw.randrange(6)))
        if not begun:  # it may not have begun, and would then find another stream
            wait_until(lambda session_id=session_id: caller.get(session_id).busy, "the stream has begun")  # type: ignore[misc]
        call = draw.choice(["generate", "generate", "rewind", "delete"])
        if call == "generate":
            more, finish = caller.generate(session_id, HELLO, preempt=True)
            text, refused = read_to_its_end(stream, begun)
            position = finish.start_position
            assert more == greedy_text(HELLO + text + HELLO if position else HELLO, 30)
        elif call == "rewind":
            assert caller.rewind(session_id, 0, preempt=True).position == 0
            text, refused = read_to_its_end(stream, begun)
            position = None
        else:
            caller.delete(session_id, preempt=True)
            text, refused = read_to_its_end(stream, begun)
            position = None
            assert refusal(lambda session_id=session_id: caller.get(session_id)).reason == "SESSION_NOT_FOUND"  # type: ignore[misc]
        assert (refused.code, refused.reason) == ("ABORTED", "PREEMPTED")
        assert text == greedy_text(HELLO, len(text))
        assert refused.position == (5 + len(text) if text else 0)
        assert position in (None, refused.position)
        if call != "delete":
            caller.delete(session_id)


def test_of_a_crowd_that_preempts_each_other_nobody_is_refused(caller: Caller) -> None:
    session_id = caller.create().id
    caller.generate(session_id, HELLO, 1)

    def take_over(_: int) -> tuple[int, str]:
        text = ""
        try:
            for event in caller.stream(session_id, max_tokens=300, preempt=True):
                text += event.chunk.text
                position = event.finish.position or event.chunk.position
        except grpc.RpcError as error:
            failure = error
            refused = refusal(lambda: (_ for _ in ()).throw(failure))
            assert refused.reason == "PREEMPTED"
            assert refused.position is not None
            position = refused.position
        return position - len(text), text

    with ThreadPoolExecutor(6) as pool:
        pieces = sorted(pool.map(take_over, range(60)), key=lambda piece: (piece[0], len(piece[1])))

    text = "".join(text for _, text in pieces)
    assert text == greedy_text(HELLO, 1 + len(text))[1:]
    assert caller.get(session_id).position == 6 + len(text)
    caller.delete(session_id)


def test_preempting_an_idle_session_is_just_the_call(caller: Caller, session_id: str) -> None:
    assert caller.generate(session_id, preempt=True)[0] == greedy_text(HELLO, 60)[30:]
    assert caller.rewind(session_id, 35, preempt=True).position == 35
    caller.delete(session_id, preempt=True)


def test_a_rewinding_is_stored_though_its_caller_goes_away(alphabet: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    came, may_go_on, is_saved = threading.Event(), threading.Event(), threading.Event()

    async def save(_self: Custody, _session_id: str, *, lease_s: float = 0.0, rewound: bool = False) -> bool:  # noqa: ARG001
        if rewound:
            came.set()
            await asyncio.to_thread(may_go_on.wait, 60)
            is_saved.set()
        return True

    monkeypatch.setattr(Custody, "save", save)
    ended = 'unrolled_rpc_total{code="CANCELLED",method="/unrolled.v1.SessionService/RewindSession"}'

    def read_page(server: Server) -> str:
        with urllib.request.urlopen(f"{server.metrics_url}/metrics", timeout=30) as page:
            return str(page.read().decode())

    with serving(alphabet) as server, grpc.insecure_channel(server.address) as channel:
        session_id = Caller(channel).create().id
        Caller(channel).generate(session_id, "abc", 5)
        rewinding = SessionServiceStub(channel).RewindSession.future(
            wire.RewindSessionRequest(session_id=session_id, position=3)
        )
        assert came.wait(60)
        rewinding.cancel()
        wait_until(lambda: ended in read_page(server), "the server has noticed")
        may_go_on.set()
        assert is_saved.wait(60)

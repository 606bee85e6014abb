"""SessionService over real gRPC: what each call does, and what it refuses."""

import asyncio
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.integration.test_server import metric
from tests.support.alphabet import greedy_text
from tests.support.refusals import Refusal, refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.v1 import session_pb2 as wire
from unrolled.v1.generation_pb2 import Finish, GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_client import AsyncClient, Client
from unrolled_client.errors import Preempted
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server
from unrolled_service.storage.custody import Custody

HELLO = "hello"
ENDLESS = 10**7
LIMITS = {"max_sessions": 200, "max_tokens": ENDLESS, "rewind_tokens": 1_000_000, "engine_threads": 2}


class Caller:
    """The raw stubs on one channel, with a shorthand for each call."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._sessions = SessionServiceStub(channel)
        self._generations = GenerationServiceStub(channel)

    def create(self, **fields: Any) -> wire.Session:
        reply: wire.CreateSessionResponse = self._sessions.CreateSession(
            wire.CreateSessionRequest(**({"model": "alphabet"} | fields))
        )
        return reply.session

    def get(self, session_id: str) -> wire.Session:
        reply: wire.GetSessionResponse = self._sessions.GetSession(wire.GetSessionRequest(session_id=session_id))
        return reply.session

    def page(self, **fields: Any) -> wire.ListSessionsResponse:
        reply: wire.ListSessionsResponse = self._sessions.ListSessions(wire.ListSessionsRequest(**fields))
        return reply

    def delete(self, session_id: str, **fields: Any) -> None:
        self._sessions.DeleteSession(wire.DeleteSessionRequest(session_id=session_id, **fields))

    def fork(self, session_id: str, **fields: Any) -> list[wire.Session]:
        reply: wire.ForkSessionResponse = self._sessions.ForkSession(
            wire.ForkSessionRequest(session_id=session_id, **fields)
        )
        return list(reply.sessions)

    def rewind(self, session_id: str, position: int, **fields: Any) -> wire.Session:
        reply: wire.RewindSessionResponse = self._sessions.RewindSession(
            wire.RewindSessionRequest(session_id=session_id, position=position, **fields)
        )
        return reply.session

    def export(self, session_id: str, **fields: Any) -> wire.ExportSnapshotResponse:
        reply: wire.ExportSnapshotResponse = self._sessions.ExportSnapshot(
            wire.ExportSnapshotRequest(session_id=session_id, **fields)
        )
        return reply

    def restore(self, snapshot: bytes, **fields: Any) -> wire.Session:
        reply: wire.ImportSnapshotResponse = self._sessions.ImportSnapshot(
            wire.ImportSnapshotRequest(snapshot=snapshot, **fields)
        )
        return reply.session

    def stream(self, session_id: str, prompt: str = "", max_tokens: int = ENDLESS, **fields: Any) -> grpc.Call:
        request = GenerateRequest(session_id=session_id, prompt=prompt, max_tokens=max_tokens, **fields)
        return self._generations.Generate(request)

    def generate(self, session_id: str, prompt: str = "", max_tokens: int = 30, **fields: Any) -> tuple[str, Finish]:
        *chunks, last = self.stream(session_id, prompt, max_tokens, **fields)
        return "".join(event.chunk.text for event in chunks), last.finish


@pytest.fixture(scope="module")
def server(alphabet: Bundle, dice: Bundle) -> Iterator[Server]:
    with serving(alphabet, dice, **LIMITS) as running:
        yield running


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with grpc.insecure_channel(server.address) as channel:
        yield Caller(channel)


@pytest.fixture
def session_id(caller: Caller) -> Iterator[str]:
    """A session that was fed hello and gave 30 letters: at position 35."""
    session_id = caller.create(seed=7).id
    caller.generate(session_id, HELLO)
    yield session_id
    if session_id in {each.id for each in caller.page(page_size=1000).sessions}:
        caller.delete(session_id, preempt=True)


def write_keys(folder: Path, name: str = "snapshot.keys", digit: str = "7") -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(f"{name}:{digit * 64}\n")
    return path


def test_a_session_from_its_making_to_its_end(caller: Caller) -> None:
    made = caller.create(model="dice", seed=2**64 - 1, ttl=Duration(seconds=100))
    assert (made.model, made.seed, made.position, made.busy, made.rewindable_from) == ("dice", 2**64 - 1, 0, False, 0)
    assert made.tier == wire.SESSION_TIER_PACKED
    assert 99 < made.expire_time.ToNanoseconds() / 1e9 - made.create_time.ToNanoseconds() / 1e9 < 101

    caller.generate(made.id, HELLO)
    found = caller.get(made.id)

    assert (found.id, found.position, found.busy, found.tier) == (made.id, 35, False, wire.SESSION_TIER_RESIDENT)
    assert found.create_time == made.create_time
    assert found.expire_time.ToNanoseconds() > made.expire_time.ToNanoseconds()
    caller.delete(made.id)
    gone = refusal(lambda: caller.get(made.id))
    assert (gone.code, gone.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


def test_sessions_are_listed_page_by_page(caller: Caller) -> None:
    made = [caller.create().id for _ in range(5)]
    listed, token = [], ""
    while True:
        page = caller.page(page_size=2, page_token=token)
        assert len(page.sessions) <= 2
        listed += [each.id for each in page.sessions]
        if not (token := page.next_page_token):
            break
    assert listed == made
    for each in made:
        caller.delete(each)


def test_forks_begin_where_the_session_is(caller: Caller, session_id: str) -> None:
    copies = caller.fork(session_id, count=3)

    assert len({session_id, *(copy.id for copy in copies)}) == 4
    assert {(copy.position, copy.seed, copy.model) for copy in copies} == {(35, 7, "alphabet")}
    for each in (session_id, *(copy.id for copy in copies)):
        text, finish = caller.generate(each)
        assert text == greedy_text(HELLO, 60)[30:]
        assert (finish.start_position, finish.position) == (35, 65)
    for copy in copies:
        caller.delete(copy.id)


def test_forks_have_the_seeds_they_are_given(caller: Caller) -> None:
    origin = caller.create(model="dice", seed=1).id
    begun, _ = caller.generate(origin, HELLO)
    copies = caller.fork(origin, count=3, seeds=[1, 2, 3])
    alone = []
    for seed in (1, 2, 3):
        other = caller.create(model="dice", seed=seed).id
        caller.generate(other, HELLO, 30, seed=1)
        alone.append(caller.generate(other)[0])
        caller.delete(other)

    texts = [caller.generate(copy.id)[0] for copy in copies]

    assert [copy.seed for copy in copies] == [1, 2, 3]
    assert texts == alone
    assert len({*texts}) == 3
    assert len(begun) == 30
    for each in (origin, *(copy.id for copy in copies)):
        caller.delete(each)


def test_a_running_session_is_copied_as_of_its_last_delivered_position(caller: Caller, session_id: str) -> None:
    stream = caller.stream(session_id)
    for _ in range(5):
        next(stream)

        (copy,) = caller.fork(session_id)
        exported = caller.export(session_id)
        restored = caller.restore(exported.snapshot)

        assert caller.get(session_id).busy
        assert copy.position > 35
        for each, position in ((copy.id, copy.position), (restored.id, exported.position)):
            assert caller.get(each).position == position
            assert caller.generate(each)[0] == greedy_text(HELLO, position + 30)[position - 5 : position + 25]
            caller.delete(each)
    stream.cancel()


def test_a_session_goes_back_to_any_position(caller: Caller, session_id: str) -> None:
    whole = HELLO + greedy_text(HELLO, 60)
    for position in (35, 34, 20, 6, 5, 3, 1):
        now = caller.rewind(session_id, position)
        assert (now.id, now.position, now.rewindable_from) == (session_id, position, 0)
        text, finish = caller.generate(session_id, expected_position=position)
        assert text == greedy_text(whole[:position], 30)
        assert finish.start_position == position
    assert caller.rewind(session_id, 0).position == 0
    assert caller.generate(session_id, HELLO)[0] == greedy_text(HELLO, 30)


def test_a_session_does_not_go_further_than_it_was(caller: Caller, session_id: str) -> None:
    refused = refusal(lambda: caller.rewind(session_id, 36))
    assert (refused.code, refused.reason, refused.position) == ("OUT_OF_RANGE", "REWIND_OUT_OF_RANGE", 35)
    restored = caller.restore(caller.export(session_id).snapshot)
    assert restored.rewindable_from == 0
    assert caller.rewind(restored.id, 12).position == 12
    assert caller.generate(restored.id)[0] == greedy_text(HELLO, 60)[7:37]
    caller.delete(restored.id)


def test_a_snapshot_lives_again_here_and_elsewhere(alphabet: Bundle, tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with (
        serving(alphabet, snapshot_keys=keys) as first,
        serving(alphabet, snapshot_keys=keys) as second,
        grpc.insecure_channel(first.address) as here,
        grpc.insecure_channel(second.address) as there,
    ):
        origin = Caller(here).create(seed=7).id
        Caller(here).generate(origin, HELLO)
        exported = Caller(here).export(origin, expected_position=35)
        assert exported.position == 35
        for caller in (Caller(here), Caller(there)):
            restored = caller.restore(exported.snapshot, seed=9, ttl=Duration(seconds=50))
            assert restored.id != origin
            assert (restored.position, restored.seed) == (35, 9)
            assert caller.generate(restored.id)[0] == greedy_text(HELLO, 60)[30:]
        assert Caller(here).get(origin).position == 35


def test_what_is_no_snapshot_of_this_server_is_refused(alphabet: Bundle, dice: Bundle, tmp_path: Path) -> None:
    keys, others = write_keys(tmp_path), write_keys(tmp_path, "others.keys", "8")
    with (
        serving(alphabet, snapshot_keys=keys) as server,
        serving(dice, snapshot_keys=keys) as other_bundle,
        serving(alphabet, snapshot_keys=others) as other_key,
        grpc.insecure_channel(server.address) as here,
        grpc.insecure_channel(other_bundle.address) as to_dice,
        grpc.insecure_channel(other_key.address) as to_key,
    ):
        caller = Caller(here)
        snapshot = caller.export(caller.create().id).snapshot
        for damaged in (b"", b"x", snapshot[:-1], snapshot + b"\0", bytes([snapshot[0] ^ 1]) + snapshot[1:]):
            refused = refusal(lambda damaged=damaged: caller.restore(damaged))  # type: ignore[misc]
            assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "SNAPSHOT_INVALID")
        refused = refusal(lambda: Caller(to_key).restore(snapshot))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "SNAPSHOT_INVALID")
        for lenient in (False, True):
            refused = refusal(
                lambda lenient=lenient: Caller(to_dice).restore(snapshot, accept_other_numerics=lenient)  # type: ignore[misc]
            )
            assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "SNAPSHOT_MISMATCH")


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


INVALID: dict[str, tuple[Callable[[Caller, str], object], str]] = {
    "fork too many": (lambda c, s: c.fork(s, count=65), "count"),
    "fork with too few seeds": (lambda c, s: c.fork(s, count=3, seeds=[1, 2]), "seeds"),
    "fork with seeds and no count": (lambda c, s: c.fork(s, seeds=[1, 2]), "seeds"),
    "fork key": (lambda c, s: c.fork(s, idempotency_key="k" * 65), "idempotency_key"),
    "create key": (lambda c, _: c.create(idempotency_key="k" * 65), "idempotency_key"),
    "import key": (lambda c, _: c.restore(b"x", idempotency_key="k" * 65), "idempotency_key"),
    "import ttl below": (lambda c, _: c.restore(b"x", ttl=Duration()), "ttl"),
    "import ttl above": (lambda c, _: c.restore(b"x", ttl=Duration(seconds=86_401)), "ttl"),
    "fork of nothing": (lambda c, _: c.fork(""), "session_id"),
    "rewind of nothing": (lambda c, _: c.rewind("", 0), "session_id"),
    "export of nothing": (lambda c, _: c.export(""), "session_id"),
    "delete of nothing": (lambda c, _: c.delete("i" * 65), "session_id"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_field(caller: Caller, session_id: str, case: str) -> None:
    call, field = INVALID[case]
    refused = refusal(lambda: call(caller, session_id))
    assert (refused.code, refused.reason, refused.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)


def test_the_bounds_themselves_are_accepted(caller: Caller, session_id: str) -> None:
    seeds = [2**64 - 1 - number for number in range(64)]
    copies = caller.fork(session_id, count=64, seeds=seeds, idempotency_key="f" * 64)
    assert [copy.seed for copy in copies] == seeds
    for copy in copies:
        caller.delete(copy.id)


@pytest.mark.parametrize("call", ["get", "delete", "fork", "export"])
def test_an_unknown_session_is_not_found(caller: Caller, call: str) -> None:
    refused = refusal(lambda: getattr(caller, call)("x" * 22))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


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


def test_the_operations_are_counted(server: Server, caller: Caller, session_id: str) -> None:
    names = [
        "unrolled_session_forks_total",
        'unrolled_snapshot_operations_total{operation="export"}',
        'unrolled_snapshot_operations_total{operation="import"}',
        'unrolled_sessions{tier="resident"}',
        'unrolled_sessions{tier="packed"}',
    ]
    before = [metric(server, name) for name in names]

    made = [*caller.fork(session_id, count=3), caller.restore(caller.export(session_id).snapshot)]
    refusal(lambda: caller.fork(session_id, count=65))
    refusal(lambda: caller.restore(b"x"))

    assert [metric(server, name) - b for name, b in zip(names, before, strict=True)] == [3, 1, 1, 0, 4]
    for each in made:
        caller.delete(each.id)


def test_a_session_that_made_room_says_so(alphabet: Bundle) -> None:
    limits = {"max_sessions": 2, "evict_after_s": 0, "engine_threads": 1}
    with serving(alphabet, **limits) as server, grpc.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        first, second = caller.create().id, caller.create().id
        caller.generate(first, HELLO)  # so that the second is idle for longer
        third = caller.create().id

        refused = refusal(lambda: caller.get(second))

        assert (refused.code, refused.reason) == ("NOT_FOUND", "SESSION_EVICTED")
        assert [each.id for each in caller.page().sessions] == [first, third]


def test_where_the_store_does_not_answer_only_what_needs_it_fails(alphabet: Bundle, tmp_path: Path) -> None:
    store = {"store": f"unix://{tmp_path}/nowhere.sock", "snapshot_keys": write_keys(tmp_path)}
    with serving(alphabet, **store) as server, grpc.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        session_id = caller.create().id
        assert caller.generate(session_id, HELLO)[0] == greedy_text(HELLO, 30)
        assert caller.rewind(session_id, 5).position == 5
        assert [copy.position for copy in caller.fork(session_id)] == [5]
        assert caller.generate(session_id)[0] == greedy_text(HELLO, 30)
        assert caller.restore(caller.export(session_id).snapshot).position == 35
        for call in (lambda: caller.get("x" * 22), lambda: caller.generate("x" * 22)):
            refused = refusal(call)
            assert (refused.code, refused.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert refused.retry_after_s is not None
            assert refused.retry_after_s > 0


def test_the_client_copies_rewinds_and_moves_a_session(server: Server) -> None:
    with Client(server.address) as client, client.session(model="alphabet", seed=7) as session:
        first = session.generate(HELLO, max_tokens=30).read()
        copies = session.fork(3)
        restored = client.restore(session.snapshot(expected_position=35), seed=8)
        assert session.rewind(to=5, expected_position=35).position == 5
        assert session.generate(max_tokens=30).read() == first
        for each in (*copies, restored):
            assert each.position == 35
            assert each.generate(max_tokens=30).read() == greedy_text(HELLO, 60)[30:]
            each.delete(expected_position=65)

        stream = session.generate(max_tokens=ENDLESS, resume=False)
        text = next(stream)
        client.open_session(session.id).rewind(to=35, preempt=True)
        with pytest.raises(Preempted):
            for piece in stream:
                text += piece
        assert text == greedy_text(HELLO, 30 + len(text))[30:]
        assert client.get_session(session.id).position == 35
    with Client(server.address) as client:
        assert not [*client.list_sessions()]


def test_the_asynchronous_client_copies_rewinds_and_moves_a_session(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.address) as client, client.session(model="alphabet", seed=7) as session:
            first = await session.generate(HELLO, max_tokens=30).read()
            copies = await session.fork(3)
            restored = await client.restore(await session.snapshot(expected_position=35), seed=8)
            assert (await session.rewind(to=5, expected_position=35)).position == 5
            assert await session.generate(max_tokens=30).read() == first
            for each in (*copies, restored):
                assert each.position == 35
                assert await each.generate(max_tokens=30).read() == greedy_text(HELLO, 60)[30:]
                await each.delete(expected_position=65)

            stream = session.generate(max_tokens=ENDLESS, resume=False)
            text = await anext(stream)
            await client.open_session(session.id).delete(preempt=True)
            with pytest.raises(Preempted):
                async for piece in stream:
                    text += piece
            assert text == greedy_text(HELLO, 30 + len(text))[30:]

    asyncio.run(scenario())
    with Client(server.address) as client:
        assert not [*client.list_sessions()]


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

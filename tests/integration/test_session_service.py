"""SessionService over real gRPC: what each call does, and what it refuses."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.integration.test_server import metric
from tests.support.alphabet import greedy_text
from tests.support.refusals import refusal
from tests.support.serving import serving
from tests.support.session_calls import ENDLESS, HELLO, LIMITS, Caller
from unrolled.v1 import session_pb2 as wire
from unrolled_client import AsyncClient, Client
from unrolled_client.errors import Preempted
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server


@pytest.fixture(scope="module")
def server(alphabet: Bundle, dice: Bundle) -> Iterator[Server]:
    with serving(alphabet, dice, **LIMITS) as running:
        yield running


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

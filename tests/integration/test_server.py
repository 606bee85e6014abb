"""A server in this process, spoken to by the client library over real gRPC."""

import asyncio
import threading
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.alphabet import greedy_text
from tests.support.server import wait_until
from tests.support.serving import serving
from tests.support.windows import SMALL_WINDOW
from unrolled.v1.generation_pb2 import GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled_client import AsyncClient, Client
from unrolled_client.errors import Draining, InternalError, ReaderStalled, Unreachable
from unrolled_service.graphs.program import Program
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc.model import ModelService
from unrolled_service.server import Server
from unrolled_service.settings import Settings

_LIMIT_S = 30
CANARY = "canary-/etc/passwd-hunter2"


def metric(server: Server, name: str) -> float:
    """Return the value of a metric's only line that begins with a name."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=_LIMIT_S) as page:
        lines = page.read().decode().splitlines()
    (value,) = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")]
    return value


async def is_closed(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


@pytest.mark.parametrize("engine_threads", [1, 3])
def test_64_concurrent_streams_give_what_each_seed_gives_alone(dice: Bundle, engine_threads: int) -> None:
    with serving(dice, engine_threads=engine_threads) as server:
        with Client(server.address) as client:
            solo = [client.generate("hello", max_tokens=200, seed=seed).read() for seed in range(64)]
        before = metric(server, 'unrolled_tokens_total{model="dice",phase="generated"}')

        async def crowd() -> list[str]:
            async with AsyncClient(server.address) as client:
                streams = [client.generate("hello", max_tokens=200, seed=seed) for seed in range(64)]
                return list(await asyncio.gather(*(stream.read() for stream in streams)))

        together = asyncio.run(crowd())
        counted = metric(server, 'unrolled_tokens_total{model="dice",phase="generated"}') - before

    assert together == solo
    assert counted == 64 * 200


@pytest.mark.parametrize("size", [1, 3])
def test_a_caller_gets_pieces_as_small_as_it_asks_for(alphabet: Bundle, size: int) -> None:
    with serving(alphabet) as server, Client(server.address) as client:
        with client.generate("hello", max_tokens=50, max_chunk_tokens=size, logprobs=1) as stream:
            chunks = list(stream.chunks())

    assert "".join(chunk.text for chunk in chunks) == greedy_text("hello", 50)
    assert max(len(chunk.text) for chunk in chunks) <= size
    assert all(len(chunk.logprobs) == len(chunk.text) for chunk in chunks)
    assert chunks[-1].position == 55
    assert [chunk.position for chunk in chunks] == [
        5 + sum(len(c.text) for c in chunks[: i + 1]) for i in range(len(chunks))
    ]


def test_a_session_goes_on_from_call_to_call(alphabet: Bundle) -> None:
    with serving(alphabet) as server, Client(server.address) as client, client.session() as session:
        text = session.generate("hello", max_tokens=15).read() + session.generate(max_tokens=25).read()

    assert text == greedy_text("hello", 40)


def test_a_second_call_may_follow_the_finish_at_once(alphabet: Bundle) -> None:
    with serving(alphabet) as server, Client(server.address) as client, client.session() as session:
        text = session.generate("hello", max_tokens=1).read()
        for _ in range(300):
            text += session.generate(max_tokens=1).read()

    assert text == greedy_text("hello", 301)


def test_a_cancelled_stream_frees_its_row_and_keeps_its_session(alphabet: Bundle) -> None:
    with (
        serving(alphabet, max_tokens=10**6) as server,
        Client(server.address) as client,
        client.session() as session,
    ):
        with session.generate("hello", max_tokens=10**6) as stream:
            next(iter(stream))
        wait_until(lambda: metric(server, "unrolled_streams_active") == 0, "its row is free")
        wait_until(lambda: not client.get_session(session.id).is_busy, "its session is free")
        position = client.get_session(session.id).position

        text = greedy_text("hello", position - 5 + 20)
        assert session.generate(max_tokens=20).read() == text[-20:]
        wait_until(lambda: metric(server, "unrolled_slots_in_use") == 1, "the session alone has a slot")
        assert metric(server, 'unrolled_streams_total{finish="cancelled",model="alphabet"}') == 1


def test_a_deadline_frees_the_row(alphabet: Bundle) -> None:
    with serving(alphabet, max_tokens=10**7) as server, grpc.insecure_channel(server.address) as channel:
        call = GenerationServiceStub(channel).Generate(GenerateRequest(prompt="a", max_tokens=10**7), timeout=0.3)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: metric(server, "unrolled_slots_in_use") == 0, "its slot is free")


def test_a_reader_that_stalls_is_ended_and_its_session_is_where_it_stopped(alphabet: Bundle) -> None:
    with (
        serving(alphabet, max_tokens=10**7, stall_timeout_s=0.5) as server,
        Client(server.address, options=SMALL_WINDOW) as client,
        client.session() as session,
    ):
        stream = session.generate("hello", max_tokens=10**7)
        pieces = iter(stream)
        text = next(pieces)
        wait_until(lambda: not client.get_session(session.id).is_busy, "the stall is noticed")
        with pytest.raises(ReaderStalled):
            for piece in pieces:
                text += piece

        assert text == greedy_text("hello", len(text))
        more = session.generate(max_tokens=30, expected_position=5 + len(text)).read()
        assert more == greedy_text("hello" + text, 30)


def test_a_defect_shows_an_id_and_nothing_else(alphabet: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(alphabet) as server, Client(server.address) as client:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise RuntimeError(CANARY)

            patch.setattr(Program, "run", fail)
            with pytest.raises(InternalError) as caught:
                client.generate("hello", max_tokens=5).read()

        assert caught.value.error_id
        assert CANARY not in repr(caught.value.__dict__) + str(caught.value)
        assert client.generate("hello", max_tokens=5).read() == greedy_text("hello", 5)
        assert metric(server, 'unrolled_rejected_total{reason="INTERNAL"}') == 1


def test_a_malformed_message_is_refused_without_the_parsers_words(alphabet: Bundle) -> None:
    with serving(alphabet) as server, grpc.insecure_channel(server.address) as channel:
        call = channel.unary_stream("/unrolled.v1.GenerationService/Generate")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(b"\xff\xff\xff"))

        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "request: is not a message of the method's request type"


def test_health_and_the_operators_pages(alphabet: Bundle) -> None:
    with serving(alphabet) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "unrolled.v1.GenerationService", "unrolled.v1.SessionService", "model/alphabet"):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="model/nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        for path, text in (("healthz", b"ok\n"), ("readyz", b"ready\n")):
            with urllib.request.urlopen(f"http://{server.metrics_address}/{path}", timeout=_LIMIT_S) as page:
                assert page.status == 200
                assert page.read() == text
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{server.metrics_address}/secret", timeout=_LIMIT_S)


def test_a_drain_ends_what_outlasts_the_grace_time(alphabet: Bundle) -> None:
    started = threading.Event()
    outcome: list[tuple[Draining, str]] = []

    def read(address: str) -> None:
        with Client(address, resume=None) as client:
            stream = client.generate("hello", max_tokens=10**7)
            try:
                for _ in stream:
                    started.set()
            except Draining as error:
                outcome.append((error, stream.text))

    with serving(alphabet, max_tokens=10**7, drain_grace_s=0.1) as server:
        reader = threading.Thread(target=read, args=(server.address,))
        reader.start()
        assert started.wait(_LIMIT_S)
    reader.join(_LIMIT_S)

    ((error, text),) = outcome
    assert isinstance(error, Draining)
    assert text == greedy_text("hello", len(text))
    assert text


def test_a_call_that_came_before_the_port_was_closed_is_answered(
    alphabet: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        came, may_go_on = asyncio.Event(), asyncio.Event()
        answer = ModelService.ListModels

        async def answer_later(self: ModelService, request: Any, context: Any) -> Any:
            came.set()
            await may_go_on.wait()
            return await answer(self, request, context)

        monkeypatch.setattr(ModelService, "ListModels", answer_later)
        server = Server([alphabet], Settings(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0"))
        await server.start()
        async with AsyncClient(server.address, resume=None) as client:
            asking = asyncio.create_task(client.models())
            await came.wait()
            stopping = asyncio.create_task(server.stop())
            while not await is_closed(server.address):
                pass
            may_go_on.set()
            assert [model.name for model in await asking] == ["alphabet"]
            await stopping

    asyncio.run(asyncio.wait_for(scenario(), _LIMIT_S))


def test_several_bundles_are_served_side_by_side(alphabet: Bundle, dice: Bundle) -> None:
    with serving(alphabet, dice) as server, Client(server.address) as client:
        assert [model.name for model in client.models()] == ["alphabet", "dice"]
        assert client.generate("hello", max_tokens=20, model="alphabet").read() == greedy_text("hello", 20)
        with client.session(model="dice", seed=4) as session:
            solo = client.generate("hello", max_tokens=20, model="dice", seed=4).read()
            assert session.generate("hello", max_tokens=20).read() == solo


def test_sessions_stay_on_their_engine_and_are_listed_together(alphabet: Bundle) -> None:
    with serving(alphabet, engine_threads=3, max_sessions=7) as server, Client(server.address) as client:
        made = [client.create_session().id for _ in range(7)]

        assert [session.id for session in client.list_sessions(page_size=2)] == made
        assert sorted(session_id[-1] for session_id in made) == list("0001122")
        for number, session_id in enumerate(made):
            session = client.open_session(session_id)
            text = session.generate("hello", max_tokens=10 + number).read() + session.generate(max_tokens=5).read()
            assert text == greedy_text("hello", 15 + number)
        for session_id in made:
            client.delete_session(session_id)
        assert metric(server, "unrolled_slots_in_use") == 0


def test_two_servers_cannot_share_a_port(alphabet: Bundle) -> None:
    with serving(alphabet) as server:
        with pytest.raises(OSError, match="cannot listen"), serving(alphabet, listen=server.address):
            pass


def test_a_caller_that_has_stopped_reading_does_not_hold_up_a_drain(alphabet: Bundle) -> None:
    with serving(alphabet, max_tokens=10**7, drain_grace_s=0.1) as server:
        client = Client(server.address, resume=None, options=SMALL_WINDOW)
        stream = client.generate("hello", max_tokens=10**7)
        pieces = iter(stream)
        next(pieces)
        lanes = [lane for worker in server._workers for lane in worker.engine.turns]
        wait_until(lambda: any(lane.scheduler.resting for lane in lanes), "its row rests")
    with client, pytest.raises((Draining, Unreachable)):  # what it never took may lie before the status
        for _ in pieces:
            pass
    assert stream.text == greedy_text("hello", len(stream.text))

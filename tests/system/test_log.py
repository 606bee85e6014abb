"""The log of a real server: a JSON object a line, request ids, and nothing that a caller wrote."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.alphabet import greedy_text
from tests.support.messages import find_methods, make_messages
from tests.support.server import ServerProcess, running_server
from unrolled.v1.generation_pb2 import GenerateRequest, ScoreRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled_client import Client

CANARY = "zqxjkvwyzq"  # in the alphabet's vocabulary
STRANGE = "Canary-hunter2!"  # not in it
PIECE = 6  # letters of a text that no other word of the log has
KEYS = {"time", "level", "logger", "event"}


@pytest.fixture
def server(bundle: Path) -> Iterator[ServerProcess]:
    with running_server(bundle, log_level="debug") as running:
        yield running


def read_log(server: ServerProcess) -> list[dict[str, Any]]:
    """Stop the server and return its log; every line of stderr is one of it."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def call(channel: grpc.Channel, method: Any, message: Any, *metadata: tuple[str, str]) -> Any:
    """Call a method with one message and return the reply, or how it failed."""
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    name = f"/{method.containing_service.full_name}/{method.name}"
    content = message.SerializeToString()
    reply = getattr(channel, kind)(name)(iter([content]) if method.client_streaming else content, 20, metadata)
    return list(reply) if method.server_streaming else reply


def test_no_text_of_a_caller_is_in_the_log(server: ServerProcess) -> None:
    calls = 0
    with grpc.insecure_channel(server.address) as channel:
        for method in find_methods():
            for text in (CANARY, STRANGE, STRANGE * 100):
                for message in make_messages(method.input_type, text):
                    calls += 1
                    metadata = [("x-request-id", f"{STRANGE}!"), ("x-session-id", STRANGE), ("traceparent", STRANGE)]
                    try:
                        call(channel, method, message, *metadata)
                    except grpc.RpcError as failure:
                        assert failure.code() is not grpc.StatusCode.INTERNAL  # noqa: PT017
        stub = GenerationServiceStub(channel)
        request = GenerateRequest(prompt=CANARY, max_tokens=40, sampling={"temperature": 0}, stop=["never"])
        said = [reply.chunk.text for reply in stub.Generate(request)]
        stub.Score(ScoreRequest(text=CANARY))
    with Client(server.address) as client, client.session() as session:
        session_id = session.id
        texts = ["".join(said), session.generate(CANARY, max_tokens=20, temperature=0).read()]
        session.rewind(3)
        client.restore(session.snapshot())

    log = read_log(server)
    text = server.log.read_text()
    for secret in (CANARY, STRANGE, "hunter2", session_id):
        assert secret not in text
    assert texts == [greedy_text(CANARY, 40), greedy_text(CANARY, 20)]
    for piece in {generated[i : i + PIECE] for generated in texts for i in range(len(generated) - PIECE + 1)}:
        assert piece not in text
    ended = [line for line in log if line["event"] in {"call", "refused"}]
    assert {line["method"] for line in ended} >= {
        f"/{each.containing_service.full_name}/{each.name}" for each in find_methods()
    }
    assert calls > 100
    (session,) = {
        line["session"] for line in ended if line["method"].endswith("/RewindSession") and line["code"] == "OK"
    }
    assert len(session) == 8


def test_every_call_has_its_line_and_a_refused_one_the_callers_id(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = GenerationServiceStub(channel)
        ids = []
        for metadata in ([("x-request-id", "order-66")], []):
            with pytest.raises(grpc.RpcError) as failure:
                list(stub.Generate(GenerateRequest(prompt="a", max_tokens=1, model="b"), metadata=metadata))
            ids.append(dict(failure.value.trailing_metadata())["x-request-id"])
        made = stub.Generate(GenerateRequest(prompt="a", max_tokens=3), metadata=[("x-request-id", "order-67")])
        assert list(made)
        assert "x-request-id" not in dict(made.trailing_metadata())

    log = read_log(server)
    for line in log:
        assert line.keys() >= KEYS
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
    assert [line["event"] for line in log[-2:]] == ["draining", "stopped"]
    (generated,) = (line for line in log if line["event"] == "call" and line["method"].endswith("/Generate"))
    assert (generated["code"], generated["model"], generated["request_id"]) == ("OK", "alphabet", "order-67")
    assert (generated["prompt_tokens"], generated["generated_tokens"]) == (1, 3)
    assert 0 <= generated["queue_ms"] <= generated["first_token_ms"] <= generated["duration_ms"]
    refused = [line for line in log if line["event"] == "refused"]
    assert ids[0] == "order-66"
    assert [line["request_id"] for line in refused] == ids
    assert {(line["level"], line["reason"], line["code"]) for line in refused} == {
        ("info", "MODEL_NOT_FOUND", "NOT_FOUND")
    }


def test_a_flood_of_refusals_does_not_fill_the_log(bundle: Path) -> None:
    with running_server(bundle) as server, grpc.insecure_channel(server.address) as channel:
        stub = GenerationServiceStub(channel)
        for _ in range(500):
            with pytest.raises(grpc.RpcError):
                list(stub.Generate(GenerateRequest()))
        log = read_log(server)
    refused = [line for line in log if line["event"] == "refused"]
    suppressed = sum(line.get("suppressed", 0) for line in refused)
    seconds = {line["time"][:19] for line in refused}
    assert 10 <= len(refused) <= 10 * (len(seconds) + 1)
    assert len(refused) + suppressed <= 500

"""A client in Node, which loads the .proto files and nothing else of this project."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.alphabet import greedy_text
from tests.support.programs import NODE_FOLDER, demand
from tests.support.server import ServerProcess
from tests.support.stubs import PROTO
from tests.system.conftest import SecureServer
from tests.system.letters import sampled_text

pytestmark = pytest.mark.program("node")
CLIENT = Path(__file__).parent / "node" / "client.mjs"
LIMIT_S = 60


def run(server: ServerProcess, *requests: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    result = subprocess.run(
        [demand("node"), CLIENT, NODE_FOLDER, PROTO, server.address, json.dumps(requests)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    replies: list[dict[str, Any]] = json.loads(result.stdout)
    return replies


@pytest.fixture
def generate(server: ServerProcess) -> Any:
    return partial(run, server)


def test_a_generation_streams(generate: Any) -> None:
    (reply,) = generate({"prompt": "a", "maxTokens": 5000, "seed": 7})
    assert len(reply["texts"]) > 1
    assert "".join(reply["texts"]) == sampled_text("a", 5000, seed=7)
    assert reply["finish"]["reason"] == "FINISH_REASON_LENGTH"
    assert reply["finish"]["position"] == "5001"


def test_a_seed_decides_the_text(generate: Any) -> None:
    request = {"prompt": "q", "maxTokens": 60}
    first, again, other = generate(*({**request, "seed": seed} for seed in (5, 5, 6)))
    assert "".join(first["texts"]) == "".join(again["texts"]) != "".join(other["texts"])


def test_greedy_needs_no_seed(generate: Any) -> None:
    (reply,) = generate({"prompt": "hello", "maxTokens": 30, "sampling": {"temperature": 0}})
    assert "".join(reply["texts"]) == greedy_text("hello", 30)


def test_an_error_says_its_code(generate: Any) -> None:
    (reply,) = generate({"prompt": "a", "maxTokens": 0})
    assert reply["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "max_tokens" in reply["details"]


def test_tls_and_a_token_are_all_it_takes(secure: SecureServer) -> None:
    request = {"prompt": "a", "maxTokens": 30, "sampling": {"temperature": 0}}
    ca = str(secure.ca.path)

    (known,) = run(secure.server, request, UNROLLED_CA=ca, UNROLLED_TOKEN=secure.token)
    (unknown,) = run(secure.server, request, UNROLLED_CA=ca, UNROLLED_TOKEN="unr_wrong")
    (clear,) = run(secure.server, request, UNROLLED_TOKEN=secure.token)

    assert "".join(known["texts"]) == greedy_text("a", 30)
    assert unknown["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert clear["code"] == grpc.StatusCode.UNAVAILABLE.value[0]

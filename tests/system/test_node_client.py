"""A client in Node, which loads the .proto files and nothing else of this project."""

import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.alphabet import greedy_text
from tests.support.programs import NODE_FOLDER, demand
from tests.support.server import ServerProcess
from tests.support.stubs import PROTO
from tests.system.letters import sampled_text

pytestmark = pytest.mark.program("node")
CLIENT = Path(__file__).parent / "node" / "client.mjs"
LIMIT_S = 60


@pytest.fixture
def generate(server: ServerProcess) -> Any:
    def call(*requests: dict[str, Any]) -> list[dict[str, Any]]:
        result = subprocess.run(
            [demand("node"), CLIENT, NODE_FOLDER, PROTO, server.address, json.dumps(requests)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert result.returncode == 0, result.stderr
        replies: list[dict[str, Any]] = json.loads(result.stdout)
        return replies

    return call


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

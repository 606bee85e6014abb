"""``buf curl`` finds the methods by reflection and calls them."""

import base64
import json
import subprocess
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from tests.support.alphabet import greedy_text
from tests.support.programs import demand
from tests.support.server import ServerProcess
from tests.system.letters import sampled_text

pytestmark = pytest.mark.program("buf")
LIMIT_S = 60


def curl(server: ServerProcess, method: str, request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(demand("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"),
            *("-d", json.dumps(request), f"http://{server.address}/unrolled.v1.{method}"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def read_messages(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the JSON messages that follow each other on stdout."""
    assert result.returncode == 0, result.stderr
    decoder, rest, messages = json.JSONDecoder(), result.stdout.strip(), []
    while rest:
        message, end = decoder.raw_decode(rest)
        messages.append(message)
        rest = rest[end:].lstrip()
    return messages


def generate(server: ServerProcess, **request: Any) -> tuple[list[str], dict[str, Any]]:
    *chunks, last = read_messages(curl(server, "GenerationService/Generate", request))
    return [message["chunk"]["text"] for message in chunks], last["finish"]


def read_details(error: dict[str, Any], kind: Any) -> list[Any]:
    """Return the details of one type; their bytes are base64 without padding."""
    found = []
    for detail in error["details"]:
        if detail["type"] == kind.DESCRIPTOR.full_name:
            found.append(kind.FromString(base64.b64decode(detail["value"] + "==")))
    return found


def test_a_generation_streams(server: ServerProcess) -> None:
    texts, finish = generate(server, prompt="a", maxTokens=5000, seed="7")
    assert len(texts) > 1
    assert "".join(texts) == sampled_text("a", 5000, seed=7)
    assert finish["reason"] == "FINISH_REASON_LENGTH"
    assert finish["usage"] == {"promptTokens": "1", "generatedTokens": "5000"}
    assert (finish["seed"], finish["position"]) == ("7", "5001")


def test_a_seed_decides_the_text(server: ServerProcess) -> None:
    first, again, other = (
        "".join(generate(server, prompt="q", maxTokens=60, seed=seed)[0]) for seed in ("5", "5", "6")
    )
    assert first == again != other


def test_greedy_needs_no_seed(server: ServerProcess) -> None:
    texts, _ = generate(server, prompt="hello", maxTokens=30, sampling={"temperature": 0})
    assert "".join(texts) == greedy_text("hello", 30)


def test_an_error_says_its_reason(server: ServerProcess) -> None:
    result = curl(server, "GenerationService/Generate", {"prompt": "A", "maxTokens": 3})
    assert result.returncode != 0
    error = json.loads(result.stderr)
    assert error["code"] == "invalid_argument"
    (info,) = read_details(error, ErrorInfo)
    assert (info.reason, info.domain) == ("UNKNOWN_CHARACTER", "unrolled")
    (request,) = read_details(error, BadRequest)
    assert [violation.field for violation in request.field_violations] == ["prompt"]


def test_the_model_describes_itself(server: ServerProcess) -> None:
    (message,) = read_messages(curl(server, "ModelService/GetModel", {}))
    assert message["model"]["manifest"]["name"] == "alphabet"

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from tests.unit.client.fake_server import PATIENCE_S, FakeServer, Hang, bare_session, letters, refusal
from unrolled.v1 import generation_pb2
from unrolled_client.cli.group import unrolled

# A test run in the background inherits an ignored SIGINT, which Python keeps.
COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from unrolled_client.cli import main; sys.exit(main())"
)


def invoke(fake: FakeServer, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(unrolled, ["generate", "--server", fake.target, *arguments], input=stdin)


@contextmanager
def process(fake: FakeServer, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", COMMAND, "generate", *arguments]
    environment = {**os.environ, "UNROLLED_SERVER": fake.target}
    with subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, bufsize=1, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_text_alone_goes_into_a_pipe(fake: FakeServer) -> None:
    result = invoke(fake, "ROMEO:", "--max-tokens", "40")
    assert result.exit_code == 0
    assert result.stdout == letters(40)
    assert result.stderr == ""


def test_echo_shows_the_prompt_first(fake: FakeServer) -> None:
    assert invoke(fake, "ROMEO:", "--max-tokens", "3", "--echo").stdout == "ROMEO:abc"


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_the_prompt_comes_from_standard_input_less_one_newline(fake: FakeServer, arguments: tuple[str, ...]) -> None:
    assert invoke(fake, *arguments, "--max-tokens", "1", stdin="a\nb\n\n").exit_code == 0
    assert fake.requests[0].prompt == "a\nb\n"


def test_options_reach_the_wire_and_the_others_stay_unset(fake: FakeServer) -> None:
    options = "--max-tokens 5 --temperature 0 --top-k 2 --top-p 0.5 --min-p 0.25 --seed 7 --model m"
    assert invoke(fake, "x", *options.split(), "--stop", "a", "--stop", "b c", "--timeout", "50").exit_code == 0
    assert invoke(fake, "x").exit_code == 0
    fake.requests[1].ClearField("seed")
    sampling = generation_pb2.Sampling(temperature=0, top_k=2, top_p=0.5, min_p=0.25)
    assert fake.requests == [
        generation_pb2.GenerateRequest(
            model="m", prompt="x", max_tokens=5, sampling=sampling, seed=7, stop=["a", "b c"]
        ),
        generation_pb2.GenerateRequest(prompt="x", max_tokens=400),
    ]
    assert 0 < (fake.deadlines_s[0] or 0) < 60


def test_a_session_is_continued(fake: FakeServer) -> None:
    fake.sessions["s7"] = bare_session("s7", position=5)
    assert invoke(fake, "", "--session", "s7", "--max-tokens", "2").exit_code == 0
    assert fake.requests[1:] == [generation_pb2.GenerateRequest(session_id="s7", max_tokens=2, expected_position=5)]
    assert fake.metadata[1]["x-session-id"] == "s7"


@pytest.mark.parametrize("options", ["--max-tokens 0", "--temperature -1", "--top-p 0", "--seed -1", "--timeout 0"])
def test_options_out_of_range_are_usage_errors(fake: FakeServer, options: str) -> None:
    assert invoke(fake, "x", *options.split()).exit_code == 2
    assert fake.requests == []


def test_a_prompt_that_is_not_text_is_one_line(fake: FakeServer) -> None:
    result = invoke(fake, "\udcff")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_no_server_says_how_to_start_one() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{reserved.getsockname()[1]}"
        result = CliRunner().invoke(unrolled, ["generate", "x", "--server", server])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: no server answers at {server}")
    assert result.stderr.endswith("start one with: unrolled serve\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("MODEL_NOT_FOUND", "`unrolled models` lists what is served"),
        ("SESSION_EXPIRED", "start again without --session"),
        ("INTERNAL", "quote e-17 to the server's operator"),
        ("QUEUE_FULL", "try again in 1.5 s"),
        ("INVALID_FIELD", "it was refused"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do_next(fake: FakeServer, reason: str, advice: str) -> None:
    details = []
    if reason == "QUEUE_FULL":
        details = [error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))]
    status = refusal(reason, "it was\nrefused", *details)
    fake.script = [refusal(reason, "it was\nrefused", error_id="e-17") if reason == "INTERNAL" else status]
    result = invoke(fake, "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: it was refused")
    assert result.stderr.endswith(f"{advice}\n")


def test_interrupting_cancels_on_the_server(fake: FakeServer) -> None:
    fake.script = ["abc", Hang()]
    with process(fake, "x") as running:
        assert running.stdout is not None
        assert running.stdout.read(3) == "abc"
        running.send_signal(signal.SIGINT)
        rest, complaints = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    assert (rest, complaints) == ("\n", "")
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_a_reader_that_goes_away_ends_the_stream_quietly(fake: FakeServer) -> None:
    fake.script = ["abc", *("x" * 1_000 for _ in range(1_000)), Hang()]
    with process(fake, "x") as running:
        assert running.stdout is not None
        assert running.stdout.read(3) == "abc"
        running.stdout.close()
        assert running.wait(PATIENCE_S) == 141
        assert running.stderr is not None
        assert running.stderr.read() == ""
    assert fake.was_cancelled.wait(PATIENCE_S)


def test_on_a_terminal_the_prompt_is_dim_and_a_summary_follows(fake: FakeServer) -> None:
    master, slave = os.openpty()
    with process(fake, "ROMEO:", "--max-tokens", "5", "--seed", "7", stdout=slave) as running:
        os.close(slave)
        assert running.wait(PATIENCE_S) == 0
        assert running.stderr is not None
        summary = running.stderr.read()
    shown = os.read(master, 1_000).decode()
    os.close(master)
    assert shown == "\x1b[2mROMEO:\x1b[0mabcde\r\n"
    assert summary.startswith("5 tokens · seed 7 · ")
    assert "chars/s · first character after" in summary


def test_every_character_is_shown_with_the_state_it_came_from(fake: FakeServer) -> None:
    result = invoke(fake, "xyz", "--max-tokens", "3", "--activations", "h0:5", "--priority", "batch")
    assert [line.split() for line in result.stdout.splitlines()] == [["a", "[3.0]"], ["b", "[4.0]"], ["c", "[5.0]"]]
    (request,) = fake.requests
    assert request.activations == generation_pb2.Activations(state="h0", units=[5])
    assert request.priority == generation_pb2.PRIORITY_BATCH


def test_a_picture_has_no_place_for_activations(fake: FakeServer) -> None:
    result = invoke(fake, "--condition", "7", "--picture", "2x2", "--activations", "h0")
    assert result.exit_code == 2
    assert "no place" in result.stderr

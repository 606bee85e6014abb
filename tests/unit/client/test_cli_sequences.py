"""The verbs of every shape, with a server whose answers are sums."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_sequences import vectors
from tests.unit.client.fake_server import PATIENCE_S, FakeServer, bare_session, finish, refusal
from tests.unit.client.test_cli_generate import COMMAND
from unrolled.v1 import bundle_pb2, generation_pb2, model_pb2, sequence_pb2
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.group import unrolled
from unrolled_client.cli.picture import SHADES, Picture


def invoke(fake: FakeServer, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(unrolled, [*arguments, "--server", fake.target], input=stdin)


def labelled() -> model_pb2.Model:
    output = bundle_pb2.Port(modality=bundle_pb2.MODALITY_LABEL, width=2, names=["even", "odd"])
    return model_pb2.Model(manifest=bundle_pb2.Manifest(name="sums", task=bundle_pb2.TASK_CLASSIFY, output=output))


def test_every_character_is_shown_with_its_answer(fake: FakeServer) -> None:
    result = invoke(fake, "step", "a b", "--model", "sums", "--activations", "h0:1,0")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["a", "odd", "0.750", "[1.0,", "1.0]"],
        ["odd", "0.750", "[2.0,", "-63.0]"],
        ["b", "odd", "0.750", "[3.0,", "-61.0]"],
    ]
    wanted = sequence_pb2.Opening(model="sums", activations=generation_pb2.Activations(state="h0", units=[1, 0]))
    assert fake.requests[0].opening == wanted


def test_lines_of_standard_input_go_on_from_one_another(fake: FakeServer) -> None:
    result = invoke(fake, "step", "--json", stdin="ab\n\nc\n")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["input"], each["position"], each["label"]) for each in lines] == [
        ("a", 1, "odd"),
        ("b", 2, "odd"),
        ("c", 3, "even"),
    ]
    assert lines[0]["probabilities"] == [0.25, 0.75]
    assert [each.inputs.text for each in fake.requests] == ["", "ab", "c"]


def test_a_line_is_answered_before_the_next_one_is_there(fake: FakeServer) -> None:
    command = [sys.executable, "-c", COMMAND, "step", "--json"]
    environment = {**os.environ, "UNROLLED_SERVER": fake.target, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for place, letter in enumerate("abc", start=1):
            running.stdin.write(f"{letter}\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["position"] == place
        _, complaints = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, complaints) == (0, "")


@pytest.mark.parametrize("is_file", [True, False])
def test_vectors_are_lines_of_json(fake: FakeServer, tmp_path: Path, is_file: bool) -> None:
    fake.sequences.gives_numbers = True
    lines = "[1, 2.5]\n\n[0.1, 0]\n"
    file = tmp_path / "vectors.jsonl"
    file.write_text(lines)
    result = invoke(fake, "step", "--vectors", str(file) if is_file else "-", stdin=lines)
    assert result.exit_code == 0
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["#1", "[3.5, 1.0]"],
        ["#2", "[3.6, 2.0]"],
    ]
    assert [len(each.inputs.vectors) for each in fake.requests] == ([0, 2] if is_file else [0, 1, 1])
    assert invoke(fake, "classify", "--vectors", str(file)).stdout == "[3.6, 2.0]\n"
    answer = json.loads(invoke(fake, "classify", "--json", "--vectors", "-", stdin=lines).stdout)
    assert answer == {"inputs": 2, "position": 2, "values": [3.6, 2.0]}


@pytest.mark.parametrize("verb", ["step", "classify", "transduce"])
@pytest.mark.parametrize("line", ["[1, NaN]", "[1, 2", "7", '["a"]', "[true]", "[1e999]", "abc"])
def test_what_is_no_vector_is_named_by_its_line(fake: FakeServer, verb: str, line: str) -> None:
    result = invoke(fake, verb, "--vectors", "-", stdin=f"[1]\n{line}\n")
    assert result.exit_code == 1
    assert result.stderr == f"error: line 2: not a list of finite numbers such as [0.1, 0.2]: {line}\n"


@pytest.mark.parametrize("verb", ["step", "classify", "transduce"])
def test_a_text_and_vectors_are_too_much(fake: FakeServer, verb: str) -> None:
    result = invoke(fake, verb, "abc", "--vectors", "-", stdin="[1]\n")
    assert (result.exit_code, result.stderr) == (1, "error: give a text or --vectors, not both\n")


def test_a_text_is_classified(fake: FakeServer) -> None:
    fake.models = [labelled()]
    result = invoke(fake, "classify", "ab", "--activations", "h0")
    assert (result.exit_code, result.stdout) == (0, "odd   0.750\neven  0.250\n[3.0, 2.0]\n")
    answer = json.loads(invoke(fake, "classify", "--json", stdin="abc\n").stdout)
    assert answer["probabilities"] == {"even": 0.75, "odd": 0.25}
    assert (answer["label"], answer["inputs"]) == ("even", 3)


def test_sessions_go_on(fake: FakeServer) -> None:
    fake.models = [labelled()]
    fake.sessions["s7"] = bare_session("s7", model="sums")
    assert invoke(fake, "step", "ab", "--session", "s7").exit_code == 0
    assert json.loads(invoke(fake, "classify", "a", "--session", "s7", "--json").stdout)["position"] == 3
    assert fake.requests[-1] == model_pb2.GetModelRequest(model="sums")


def test_the_wrong_verb_is_told_the_right_one(fake: FakeServer) -> None:
    fake.refusals["StepRequest"] = [refusal("TASK_MISMATCH", "no", method="SequenceService.Classify")]
    result = invoke(fake, "step", "abc")
    assert result.exit_code == 1
    assert result.stderr == "error: no; the verb is `unrolled classify`\n"


def test_a_source_is_transduced(fake: FakeServer) -> None:
    assert invoke(fake, "transduce", "abc").stdout == "CBA"
    assert invoke(fake, "transduce", "--max-tokens", "2", "--seed", "3", stdin="abc\n").stdout == "CB"
    assert invoke(fake, "transduce", "--vectors", "-", stdin="[1, 2]\n[3, 4.1]\n").stdout == "[3.0, 4.1]\n[1.0, 2.0]\n"
    assert [each.HasField("sampling") for each in fake.requests] == 3 * [False]
    assert (fake.requests[1].max_tokens, fake.requests[1].seed) == (2, 3)


def drawn(*rows: list[float]) -> list[generation_pb2.GenerateResponse]:
    pieces = [generation_pb2.Chunk(position=place, vectors=vectors(row)) for place, row in enumerate(rows, start=2)]
    chunks = [generation_pb2.GenerateResponse(chunk=piece) for piece in pieces]
    return [*chunks, finish(generation_pb2.GenerateRequest(), len(rows) + 1)]


def test_a_condition_needs_no_prompt_and_leaves_the_length_to_the_bundle(fake: FakeServer) -> None:
    fake.script = drawn([0.1, 1.0], [0.5, 0.25])
    assert invoke(fake, "generate", "--condition", "seven").stdout == "[0.1, 1.0]\n[0.5, 0.25]\n"
    assert invoke(fake, "generate", "x", "--condition", "[0.5, 2]", "--max-tokens", "3").exit_code == 0
    first, second = fake.requests
    assert (first.condition.label, first.max_tokens, first.prompt) == ("seven", 0, "")
    assert (list(second.condition.vector.values), second.max_tokens, second.prompt) == ([0.5, 2.0], 3, "x")


def test_a_condition_that_is_half_a_list_is_refused(fake: FakeServer) -> None:
    result = invoke(fake, "generate", "--condition", "[0.5,")
    assert (result.exit_code, fake.requests) == (1, [])
    assert result.stderr.startswith("error: --condition: not a list")


def test_a_picture_is_written_whole_where_nobody_looks(fake: FakeServer) -> None:
    fake.script = drawn([0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0])
    result = invoke(fake, "generate", "--condition", "x", "--picture", "4x2", "--tile", "2x1")
    assert result.stdout == "  ████  \n████    \n"
    fake.script = drawn([0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0])
    assert invoke(fake, "generate", "--condition", "x", "--picture", "4x2").stdout == "  ████  \n████    \n"
    for options, message in (
        (["--picture", "3x3"], "a piece of 4 pixels is not 3x1"),
        (["--picture", "4x2", "--tile", "3x2"], "do not fill"),
    ):
        result = invoke(fake, "generate", "--condition", "x", *options)
        assert result.exit_code == 1
        assert message in result.stderr
    assert invoke(fake, "generate", "--condition", "x", "--picture", "4by2").exit_code == 2


def test_a_picture_grows_on_a_terminal(fake: FakeServer) -> None:
    fake.script = drawn([0.0, 1.0], [1.0, 0.0])
    command = [sys.executable, "-c", COMMAND, "generate", "--condition", "x", "--picture", "2x2"]
    environment = {**os.environ, "UNROLLED_SERVER": fake.target}
    master, slave = os.openpty()
    done = subprocess.run(
        command, stdout=slave, stderr=subprocess.PIPE, text=True, env=environment, timeout=PATIENCE_S, check=True
    )
    os.close(slave)
    shown = os.read(master, 1_000).decode()
    os.close(master)
    assert shown == "  ██\r\n    \r\n\x1b[2A  ██\r\n██  \r\n"
    assert done.stderr.startswith("0 vectors · seed")


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_tiles_are_put_in_reading_order(wide: int, high: int, across: int, down: int, data: st.DataObject) -> None:
    pixels = data.draw(
        st.lists(st.integers(0, 4), min_size=wide * high * across * down, max_size=wide * high * across * down)
    )
    picture = Picture((wide * across, high * down), (wide, high))
    for begin in range(0, len(pixels), wide * high):
        picture.add([pixel / 4 for pixel in pixels[begin : begin + wide * high]])
    lines = picture.lines()
    for place, pixel in enumerate(pixels):
        tile, within = divmod(place, wide * high)
        row, column = tile // across * high + within // wide, tile % across * wide + within % wide
        assert lines[row][2 * column : 2 * column + 2] == 2 * SHADES[pixel]


def test_pieces_beyond_a_picture_are_left_out_and_shades_have_limits() -> None:
    picture = Picture((2, 1))
    picture.add([-3.0, 7.0])
    picture.add([0.5, 0.5])
    assert picture.lines() == ["  ██"]
    with pytest.raises(Failure):
        picture.add([1.0])

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.client.fake_server import Cut, FakeServer, alphabet, bare_session, bare_status, refusal
from unrolled.v1 import session_pb2
from unrolled_client.cli.group import unrolled


def invoke(fake: FakeServer, verb: str, *arguments: str, stdin: bytes | None = None) -> Result:
    command = [verb, *arguments, "--server", fake.target]
    return CliRunner().invoke(unrolled, command, input=stdin, env={"COLUMNS": "60"})


@pytest.fixture
def session(fake: FakeServer) -> session_pb2.Session:
    fake.sessions["s-nine"] = bare_session("s-nine", model="letters", position=1_234, seed=7, rewindable_from=1_000)
    return fake.sessions["s-nine"]


def test_sessions_are_a_table_with_whole_ids(fake: FakeServer, session: session_pb2.Session) -> None:
    identity = "x" * 43
    fake.sessions[identity] = bare_session(identity, busy=True)
    result = invoke(fake, "sessions")
    assert result.exit_code == 0
    assert result.stdout.split()[0] == "id"
    assert identity in result.stdout
    wide = CliRunner().invoke(unrolled, ["sessions", "--server", fake.target], env={"COLUMNS": "200"})
    rows = [line.split() for line in wide.stdout.splitlines()[1:]]
    assert rows[0][:4] == [session.id, "letters", "resident", "idle"]
    assert rows[0][-3:] == ["1,234", "1,000", "7"]
    assert "busy" in rows[1]


def test_no_sessions_are_an_empty_table(fake: FakeServer) -> None:
    result = invoke(fake, "sessions")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "seeds"), [((), [7]), (("-n", "2"), [7, 7]), (("--seed", "1", "--seed", "2"), [1, 2])]
)
def test_forks_are_ids(
    fake: FakeServer, session: session_pb2.Session, arguments: tuple[str, ...], seeds: list[int]
) -> None:
    result = invoke(fake, "fork", session.id, *arguments)
    ids = result.stdout.split()
    assert result.exit_code == 0
    assert [fake.sessions[each].seed for each in ids] == seeds
    assert {fake.sessions[each].position for each in ids} == {1_234}


def test_rewinding_tells_the_position(fake: FakeServer, session: session_pb2.Session) -> None:
    result = invoke(fake, "rewind", session.id, "1100", "--preempt")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "s-nine is at position 1,100\n")
    assert session.position == 1_100
    assert fake.requests[-1].preempt


def test_rewinding_too_far_is_one_line_with_what_to_do_next(fake: FakeServer, session: session_pb2.Session) -> None:
    result = invoke(fake, "rewind", session.id, "5")
    assert result.exit_code == 1
    assert result.stderr == "error: no; `unrolled sessions` lists how far back they go\n"


def test_a_snapshot_is_restored_from_its_file(fake: FakeServer, session: session_pb2.Session, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    written = invoke(fake, "snapshot", session.id, "-o", str(file))
    assert (written.exit_code, written.stdout) == (0, "")
    assert file.read_bytes() == session.SerializeToString()
    arguments = ("--seed", "3", "--ttl", "60", "--accept-other-numerics")
    restored = invoke(fake, "restore", str(file), *arguments)
    assert restored.exit_code == 0
    made = fake.sessions[restored.stdout.strip()]
    assert (made.position, made.seed) == (1_234, 3)
    assert fake.requests[-1].accept_other_numerics
    assert fake.requests[-1].ttl.seconds == 60


def test_a_snapshot_goes_through_pipes(fake: FakeServer, session: session_pb2.Session) -> None:
    written = invoke(fake, "snapshot", session.id, "-o", "-")
    assert written.stdout_bytes == session.SerializeToString()
    assert invoke(fake, "restore", "-", stdin=written.stdout_bytes).exit_code == 0


def test_a_snapshot_that_failed_leaves_no_file(fake: FakeServer, tmp_path: Path) -> None:
    result = invoke(fake, "snapshot", "gone", "-o", str(tmp_path / "kept"))
    assert (result.exit_code, result.stderr) == (1, "error: no; `unrolled sessions` lists those there are\n")
    assert [*tmp_path.iterdir()] == []


def test_a_generation_tells_how_often_it_was_resumed(fake: FakeServer) -> None:
    fake.cuts = [Cut(4, bare_status(14, "cut")), Cut(2, refusal("DRAINING"))]
    result = invoke(fake, "generate", "x", "--max-tokens", "9")
    assert (result.stdout, result.stderr) == (alphabet(1, 9), "resumed 2 times\n")

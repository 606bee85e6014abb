from pathlib import Path

from chaos.history import Call, Entry, Outage, Piece, Recorder, Reply, read_history


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    entries: list[Entry] = [
        Call(0, 0.5, "caller-1", "caller-1.0", "generate", 3, "a\n\u2028b", 40, is_sure=False),
        Call(1, 0.6, "caller-1", "caller-1.0", "fork", 3, to="caller-1.1"),
        Piece(0, 0.7, "ab", 5),
        Reply(0, 0.8, None, error="DRAINING", message="it goes", resumes=2, stall_s=1.5),
        Outage("kill replica", ("replica-1",), 0.1, 0.9),
    ]
    path = tmp_path / "history.jsonl"
    with path.open("w") as file:
        recorder = Recorder(file)
        for entry in entries:
            recorder.note(entry)
    assert [*read_history(path)] == entries

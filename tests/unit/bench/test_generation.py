import pytest

from bench.generation import Generation
from bench.journal import Journal
from bench.wire import write_chunk, write_finish


def _generation(journal: Journal, length: int = 3) -> tuple[Generation, list[Generation]]:
    ended: list[Generation] = []
    return Generation(journal, 16, length, 10.0, ended.append), ended


def test_what_arrives_is_noted_and_judged() -> None:
    journal = Journal(is_open=True)
    generation, ended = _generation(journal)

    generation.take(write_chunk("a", 17), 10.5)
    generation.take(write_chunk("bc", 19), 11.5)
    generation.take(write_finish(19), 11.5)
    generation.end(11.6, "")

    assert ended == [generation]
    assert generation.fault == ""
    assert (journal.characters, journal.messages) == (3, 2)
    assert (journal.firsts_s, journal.gaps) == ([0.5], [(1.0, 2)])
    assert (journal.inter_token_s(0.99), journal.inter_chunk_s(0.99)) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("messages", "fault", "expected"),
    [
        ([write_chunk("abc", 19)], "", "no finish"),
        ([write_chunk("ab", 18), write_finish(18)], "", "2 characters instead of 3"),
        ([write_chunk("abc", 20), write_finish(20)], "", "position 20"),
        ([write_chunk("", 16), write_finish(16)], "", "position 16"),
        ([write_chunk("abc", 19), write_finish(19), write_chunk("d", 20)], "", "after the finish"),
        ([b"?"], "", "breaks off"),
        ([], "reset by the server", "reset by the server"),
    ],
)
def test_faults_are_named(messages: list[bytes], fault: str, expected: str) -> None:
    generation, ended = _generation(Journal())

    for message in messages:
        generation.take(message, 11.0)
    generation.end(12.0, fault)

    assert ended
    assert expected in generation.fault


def test_a_closed_journal_notes_nothing() -> None:
    journal = Journal()
    generation, _ = _generation(journal)

    generation.take(write_chunk("abc", 19), 11.0)

    assert (journal.characters, journal.messages, journal.firsts_s, journal.gaps) == (0, 0, [], [])


def test_a_summary_divides_by_the_window() -> None:
    journal = Journal(characters=4000, messages=400, firsts_s=[0.25], gaps=[(0.5, 10)])

    report = journal.summarize(2.0, 0.5, 0.25, 20, [])

    assert (report.chars_per_s, report.chars_per_message, report.load_cores) == (2000, 10, 0.25)
    assert report.server_cpu_s_per_1000_chars == 0.0625
    assert (report.first_p50_s, report.inter_token_p50_s, report.inter_chunk_p99_s) == (0.25, 0.05, 0.5)

"""The checker must find whatever is planted in a history that is right."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from chaos.checker import Verdict, Wrong, check
from chaos.history import CLOSED, HUNG, UNREACHABLE, Call, Entry, Outage, Piece, Reply
from chaos.tapes import Part, Tape
from unrolled_client import Sampling

ONE = "abcdefghijklmnopqrstuvwxyz" * 4
OTHER = ONE[::-1]


def tape(name: str, text: str) -> Tape:
    return Tape(name, "alphabet", 1, Sampling(), (Part(text[:4], 46), Part(text[50:54], len(text) - 54)), text)


TAPES = {"one": tape("one", ONE), "other": tape("other", OTHER)}


class Story:
    """Writes a history down; the clock goes on by one with each entry."""

    def __init__(self, session: str = "one.0", tape: str = "one") -> None:
        self.entries: list[Entry] = []
        self.session, self.tape = session, tape
        self._numbers = count()
        self._now_s = -1.0

    def call(self, verb: str, **fields: Any) -> int:
        number = next(self._numbers)
        given = {"session": self.session, "tape": self.tape, **fields}
        self.entries.append(Call(number, self._tick(), verb=verb, **given))
        return number

    def hear(self, call: int, text: str, position: int) -> None:
        self.entries.append(Piece(call, self._tick(), text, position))

    def end(self, call: int, position: int | None = None, error: str = "", **fields: Any) -> None:
        self.entries.append(Reply(call, self._tick(), position, error=error, **fields))

    def do(self, verb: str, position: int | None, error: str = "", **fields: Any) -> None:
        """Ask and hear the reply."""
        self.end(self.call(verb, **fields), position, error)

    def read(self, start: int, tokens: int, *, error: str = "", heard: int | None = None, **fields: Any) -> None:
        """Generate in two pieces, whatever is right; with an error, so much comes before it."""
        mine = TAPES[self.tape]
        prompt = mine.prompt_at(start)
        call = self.call("generate", start=start, prompt=prompt, max_tokens=tokens, **fields)
        begin, told = start + len(prompt), tokens if heard is None else heard
        for left, right in ((begin, begin + told // 2), (begin + told // 2, begin + told)):
            if right > left:
                self.hear(call, mine.text[left:right], right)
        self.end(call, None if error else begin + told, error)

    def _tick(self) -> float:
        self._now_s += 1.0
        return self._now_s


def whole() -> Story:
    """Return a session that is read in three calls, goes back, and is read on after its second prompt."""
    story = Story()
    story.do("create", 0)
    story.read(0, 20)
    story.read(24, 26)
    story.do("rewind", 30, start=50, to=30)
    story.read(30, 20)
    story.read(50, len(ONE) - 54)
    story.do("delete", None, start=len(ONE))
    return story


def judge(entries: Sequence[Entry]) -> Verdict:
    return check(TAPES, entries)


def kinds(entries: Sequence[Entry]) -> set[Wrong]:
    return {violation.kind for violation in judge(entries).violations}


def changed(index: int, **fields: Any) -> list[Entry]:
    """Return the history with another n-th piece."""
    entries = whole().entries
    place = [i for i, entry in enumerate(entries) if isinstance(entry, Piece)][index]
    entries[place] = replace(entries[place], **fields)
    return entries


def test_nothing_is_wrong_with_what_is_right() -> None:
    verdict = judge(whole().entries)
    assert (verdict.violations, verdict.wrong_characters, verdict.unstored) == ([], 0, 0)
    assert verdict.characters == 20 + 26 + 20 + len(ONE) - 54
    assert verdict.calls == {"create": 1, "generate": 4, "rewind": 1, "delete": 1}


@pytest.mark.parametrize("place", range(8))
def test_a_wrong_letter_is_found_wherever_it_is(place: int) -> None:
    pieces = [entry for entry in whole().entries if isinstance(entry, Piece)]
    text = pieces[place].text
    verdict = judge(changed(place, text=text[:3] + "?" + text[4:]))
    assert [violation.kind for violation in verdict.violations] == [Wrong.LETTERS]
    assert verdict.wrong_characters == 1


def test_a_gap_is_found() -> None:
    entries = whole().entries
    del entries[next(i for i, entry in enumerate(entries) if isinstance(entry, Piece))]
    verdict = judge(entries)
    assert Wrong.GAP in {violation.kind for violation in verdict.violations}
    assert verdict.wrong_characters >= 10


def test_a_gap_that_the_positions_hide_is_found() -> None:
    assert kinds(changed(2, text=ONE[30:43])) == {Wrong.LETTERS}


def test_a_duplicate_is_found() -> None:
    entries = whole().entries
    place = next(i for i, entry in enumerate(entries) if isinstance(entry, Piece))
    verdict = judge([*entries[: place + 1], *entries[place:]])
    assert Wrong.DUPLICATE in {violation.kind for violation in verdict.violations}
    assert verdict.wrong_characters >= 10


def test_a_finish_before_the_end_is_found() -> None:
    entries = whole().entries
    del entries[[i for i, entry in enumerate(entries) if isinstance(entry, Piece)][1]]
    assert Wrong.GAP in kinds(entries)


def test_swapped_texts_are_found_on_both_sides() -> None:
    stories = Story(), Story("other.0", "other")
    for story in stories:
        story.do("create", 0)
        story.read(0, 40)
        story.do("delete", None)
    ours, theirs = (story.entries for story in stories)
    swapped = [
        replace(a, text=b.text) if isinstance(a, Piece) and isinstance(b, Piece) else a
        for a, b in zip(ours, theirs, strict=True)
    ]
    verdict = judge(swapped)
    assert [violation.kind for violation in verdict.violations] == [Wrong.FOREIGN] * 2
    assert "other is to hear" in verdict.violations[0].message
    assert verdict.wrong_characters > 30


@pytest.mark.parametrize("error", ["INTERNAL", "UNKNOWN", "CANCELLED", "READER_STALLED", "INVALID_FIELD", "PREEMPTED"])
@pytest.mark.parametrize("verb", ["generate", "rewind", "info"])
def test_an_undocumented_error_is_found(error: str, verb: str) -> None:
    story = Story()
    story.do("create", 0)
    story.do(verb, None, error)
    story.do("delete", None)
    assert kinds(story.entries) == {Wrong.ERROR}


@pytest.mark.parametrize(
    "error", ["DRAINING", "STORE_UNAVAILABLE", "SESSION_BUSY", "SESSION_MOVED", UNREACHABLE, CLOSED]
)
def test_a_documented_error_is_none(error: str) -> None:
    story = Story()
    story.do("create", 0)
    story.read(0, 40, error=error, heard=20)
    story.do("info", 30)
    story.do("rewind", 24, start=30, to=24)
    story.read(24, 26)
    story.do("delete", None)
    verdict = judge(story.entries)
    assert verdict.violations == []
    assert verdict.errors == {error: 1}


@pytest.mark.parametrize("error", ["SESSION_NOT_FOUND", "SESSION_EXPIRED", "SESSION_EVICTED"])
def test_a_session_that_is_gone_is_lost(error: str) -> None:
    story = Story()
    story.do("create", 0)
    story.read(0, 40)
    story.do("info", None, error, start=44)
    assert kinds(story.entries) == {Wrong.LOST}


@pytest.mark.parametrize("verb", ["info", "generate"])
def test_a_session_that_fell_behind_is_lost(verb: str) -> None:
    story = Story()
    story.do("create", 0)
    story.read(0, 40)
    story.do(verb, 12, "POSITION_MISMATCH" if verb == "generate" else "", start=44)
    story.do("delete", None)
    assert kinds(story.entries) == {Wrong.LOST}


def test_a_session_that_is_not_read_to_its_end_is_lost() -> None:
    assert kinds(whole().entries[:-2]) == {Wrong.LOST}


def test_a_session_that_is_further_than_any_call_took_it_is_found() -> None:
    story = Story()
    story.do("create", 0)
    story.read(0, 20, error=UNREACHABLE, heard=10)
    story.do("info", 25)
    story.do("delete", None)
    assert kinds(story.entries) == {Wrong.MISPLACED}


def test_a_copy_that_begins_elsewhere_is_found() -> None:
    story = Story()
    story.do("create", 0)
    story.read(0, 20)
    story.do("fork", 20, start=24, to="one.1")
    story.do("delete", None, session="one.1")
    story.do("delete", None)
    assert kinds(story.entries) == {Wrong.MISPLACED}


@pytest.mark.parametrize("is_said", [True, False])
def test_a_call_that_hangs_is_found(is_said: bool) -> None:
    story = Story(session="")
    call = story.call("generate", prompt="abcd", max_tokens=5)
    if is_said:
        story.end(call, None, HUNG)
    assert kinds(story.entries) == {Wrong.HUNG}


def test_what_a_server_without_its_store_forgot_is_counted_and_not_blamed() -> None:
    away = Outage("kill redis", ("redis",), 3.0, 5.0)
    story = Story()
    story.do("create", 0)
    story.read(0, 40)
    story.do("info", 0, start=44)
    story.do("delete", None)
    verdict = judge([*story.entries, away])
    assert (verdict.violations, verdict.unstored) == ([], 1)


def test_no_text_is_wrong_because_the_store_is_away() -> None:
    away = Outage("silence replica-redis", ("replica-1", "redis"), 0.0, 100.0)
    assert kinds([*changed(3, text="?" * 13), away]) == {Wrong.LETTERS}
    assert kinds([*changed(3, position=70), away]) >= {Wrong.GAP}


def test_a_fault_that_leaves_the_store_alone_excuses_nothing() -> None:
    fault = Outage("kill replica", ("replica-1",), 3.0, 5.0)
    story = Story()
    story.do("create", 0)
    story.read(0, 40)
    story.do("info", 0, start=44)
    story.do("delete", None)
    assert kinds([*story.entries, fault]) == {Wrong.LOST}

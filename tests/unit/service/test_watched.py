import logging
from pathlib import Path

import pytest

from tests.support.access import replace
from tests.support.stores import Clock
from unrolled_service.errors import KeyFileError
from unrolled_service.watched import Watched


class Number:
    """A number in a file, and how often it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0

    def read(self) -> int:
        self.reads += 1
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{self.path}: {error}") from None


@pytest.fixture
def number(tmp_path: Path) -> Number:
    (tmp_path / "number").write_text("1")
    return Number(tmp_path / "number")


def test_what_changes_is_read_again_after_the_interval(number: Number) -> None:
    clock = Clock()
    watched = Watched([number.path], number.read, interval_s=1.0, clock=clock)
    replace(number.path, b"22")

    assert (watched.current(), number.reads) == (1, 1)
    clock.now_s = 1.0
    assert (watched.current(), number.reads) == (22, 2)
    clock.now_s = 9.0
    assert (watched.current(), number.reads) == (22, 2)


def test_what_cannot_be_read_leaves_what_was(number: Number, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched([number.path], number.read, interval_s=0.0)
    caplog.set_level(logging.INFO)
    replace(number.path, b"nonsense")

    assert [watched.current() for _ in range(3)] == [1, 1, 1]
    assert number.reads == 2, "a file that did not change again is not read again"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    number.path.unlink()
    assert watched.current() == 1
    replace(number.path, b"3")
    assert watched.current() == 3


def test_one_of_several_files_is_enough(tmp_path: Path, number: Number) -> None:
    other = tmp_path / "other"
    other.write_text("")
    watched = Watched([other, number.path], number.read, interval_s=0.0)
    replace(number.path, b"4")
    assert watched.current() == 4


def test_at_the_start_it_must_be_readable(tmp_path: Path) -> None:
    missing = Number(tmp_path / "missing")
    with pytest.raises(KeyFileError):
        Watched([missing.path], missing.read)

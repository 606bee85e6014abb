"""What is read from files and read again when they change.

What cannot be read keeps what was read before, and says so in the log: a server must not lose its callers to a file
that is half written. Any thread may ask.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from unrolled_service.errors import FileError

LOOK_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Marks = tuple[tuple[int, int, int] | None, ...]


class Watched(Generic[_T]):
    """The newest readable content of some files.

    Args:
        paths: files that are read together.
        read: reads them; raises a ``FileError`` for what it cannot use.
        interval_s: how long what was looked at counts as unchanged, in seconds.
        clock: seconds that never go back.

    Raises:
        FileError: they cannot be read the first time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], _T],
        *,
        interval_s: float = LOOK_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._interval_s = interval_s
        self._clock = clock
        self._marks = self._look()
        self._looked = clock()
        self._content = read()

    def current(self) -> _T:
        """Return the content, read again if the files have changed since it was."""
        now = self._clock()
        if now - self._looked >= self._interval_s:
            self._looked = now
            marks = self._look()
            if marks != self._marks:
                self._marks = marks
                self._renew()
        return self._content

    def _renew(self) -> None:
        names = ", ".join(map(str, self._paths))
        try:
            self._content = self._read()
        except FileError as error:
            _log.error("what was read before stays in use: %s", error)
        else:
            _log.info("read again: %s", names)

    def _look(self) -> _Marks:
        return tuple(map(_mark, self._paths))


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Return what differs between two versions of a file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

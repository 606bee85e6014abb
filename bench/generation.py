"""One generation as the load generator sees it: everything that arrives is checked."""

from collections.abc import Callable

from bench.http2 import ProtocolError
from bench.journal import Journal
from bench.wire import read_response


class Generation:
    """The receiver of one Generate call.

    Args:
        journal: where its text is noted.
        prompt_tokens: length of the prompt, the position at which its text begins.
        length: characters that it must bring.
        sent: ``perf_counter`` time of the sending, or the time for which that was scheduled.
        on_end: called with this when the call is over.

    Attributes:
        characters: received.
        fault: what was wrong; empty for nothing.
    """

    __slots__ = ("_is_finished", "_journal", "_last", "_length", "_on_end", "_start", "characters", "fault")

    def __init__(
        self,
        journal: Journal,
        prompt_tokens: int,
        length: int,
        sent: float,
        on_end: Callable[["Generation"], None],
    ) -> None:
        self.characters = 0
        self.fault = ""
        self._journal = journal
        self._start = prompt_tokens
        self._length = length
        self._last = sent
        self._on_end = on_end
        self._is_finished = False

    def take(self, message: bytes, now: float) -> None:
        """Take a response."""
        if self._is_finished:
            self.fault = "a message after the finish"
            return
        try:
            characters, position, self._is_finished = read_response(message)
        except ProtocolError as error:
            self.fault = str(error)
            return
        if self._is_finished:
            return
        self._journal.note(characters, now - self._last, is_first=not self.characters)
        self._last = now
        self.characters += characters
        if not characters or position != self._start + self.characters:
            self.fault = f"position {position} after {self.characters} characters of {self._start} and more"

    def end(self, now: float, fault: str) -> None:  # noqa: ARG002 - the time is for other receivers
        """Judge the call."""
        self.fault = self.fault or fault
        if not self.fault and not self._is_finished:
            self.fault = "no finish"
        if not self.fault and self.characters != self._length:
            self.fault = f"{self.characters} characters instead of {self._length}"
        self._on_end(self)

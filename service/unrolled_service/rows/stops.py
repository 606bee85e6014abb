"""Stop texts: found as early as possible, held back until they cannot match any more."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """A stop text that was met.

    Attributes:
        stop: the text.
        before: what stands before it and was not released yet.
    """

    stop: str
    before: str


class StopMatcher:
    """Watches growing text for stop texts.

    The outcome depends on the text alone, not on the pieces it comes in: the stop text that is
    complete first wins; of several complete at the same character, the longest.

    Args:
        stops: non-empty texts; none at all is fine.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def feed(self, text: str) -> tuple[str, Match | None]:
        """Take the next piece; return the text that may be shown now, and the match if there is one."""
        if not self._stops:
            return text, None
        self._held += text
        if match := self._first_match():
            return match.before, match
        return self._split(self._possible_stop_length()), None

    def flush(self) -> str:
        """Return what is held back: no more text comes, so it cannot become a stop text."""
        return self._split(0)

    def _first_match(self) -> Match | None:
        ends = [(start + len(stop), start, stop) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        if not ends:
            return None
        _, start, stop = min(ends)
        return Match(stop, self._held[:start])

    def _possible_stop_length(self) -> int:
        """Return the length of the longest end of the held text that begins a stop text."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0

    def _split(self, keep: int) -> str:
        cut = len(self._held) - keep
        released, self._held = self._held[:cut], self._held[cut:]
        return released

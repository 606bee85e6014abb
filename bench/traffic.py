"""The calls of a load generator: one connection, and the generations that run on it."""

import selectors
import time
from itertools import count

from bench.connection import Connection
from bench.generation import Generation
from bench.journal import Journal
from bench.wire import GENERATE, write_request

TEXT = "The quick brown fox jumps over the lazy dog. "
_FAULTS_TOLD = 5


class Traffic:
    """A connection, and the generations that run on it.

    Args:
        target: ``host:port``.
        nap_s: how long to leave arriving messages together before they are read; latencies are coarser by that.
        model: name of the bundle.
        text: what prompts are cut from.
        max_chunk_tokens: most tokens that a message may carry; 0 leaves it to the server.

    Attributes:
        ended: generations that are over.
        running: those that are not.
        failed: those that ended with a fault.
        faults: the first few of them.
    """

    def __init__(
        self, target: str, *, nap_s: float = 0.0, model: str = "", text: str = TEXT, max_chunk_tokens: int = 0
    ) -> None:
        self._connection = Connection(target)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._connection, selectors.EVENT_READ)
        self._nap_s = nap_s
        self._model = model
        self._text = text
        self._max_chunk_tokens = max_chunk_tokens
        self._serials = count()
        self.ended: list[Generation] = []
        self.running = self.completed = self.failed = 0
        self.faults: list[str] = []

    def begin(self, journal: Journal, *, prompt_length: int, length: int, sent: float) -> None:
        """Begin a generation; it leaves with the next ``turn``."""
        serial = next(self._serials)
        start = serial % len(self._text)
        repeats = (start + prompt_length) // len(self._text) + 1
        prompt = (self._text * repeats)[start : start + prompt_length]
        generation = Generation(journal, prompt_length, length, sent, self._end)
        request = write_request(prompt, length, serial, model=self._model, max_chunk_tokens=self._max_chunk_tokens)
        self._connection.call(GENERATE, request, generation)
        self.running += 1

    def turn(self, timeout_s: float) -> list[Generation]:
        """Send what is to be sent, wait for what arrives, and return the generations that ended with it."""
        self._connection.flush()
        if self._connection.wants_to_write:
            timeout_s = min(timeout_s, 0.001)
        self.ended = []
        if self._selector.select(max(0.0, timeout_s)):
            if self._nap_s:
                time.sleep(self._nap_s)
            self._connection.receive()
        return self.ended

    def close(self) -> None:
        """Close the connection; what still runs is cancelled by the server."""
        self._selector.close()
        self._connection.close()

    def tell_faults(self) -> list[str]:
        """Return the first faults, and how many generations failed."""
        return [*self.faults, f"{self.failed} of {self.completed} generations failed"] if self.failed else []

    def _end(self, generation: Generation) -> None:
        self.running -= 1
        self.completed += 1
        self.ended.append(generation)
        if generation.fault:
            self.failed += 1
            if len(self.faults) < _FAULTS_TOLD:
                self.faults.append(generation.fault)

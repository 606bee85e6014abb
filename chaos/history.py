"""What callers did and what they were told: an entry for each call, piece of text and reply, in their order.

An entry is a line of JSON, so that what happened can be looked at and checked again afterwards.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CLOSED = "CLOSED"
HUNG = "HUNG"
UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True)
class Call:
    """A caller asks.

    Attributes:
        call: its number.
        at_s: seconds after the start of the run.
        tape: what the caller is to hear.
        session: the caller's name for its session; empty for a throw-away one.
        verb: "create", "fork", "info", "rewind", "delete", "generate".
        start: position at which the caller believes the session to be.
        prompt: what "generate" feeds.
        max_tokens: how much "generate" is to bring.
        to: position that "rewind" goes to, the name of the copy that "fork" makes.
        is_sure: "generate" is told the start, or its handle knows it.
    """

    call: int
    at_s: float
    tape: str
    session: str
    verb: str
    start: int = 0
    prompt: str = ""
    max_tokens: int = 0
    to: int | str = 0
    is_sure: bool = True


@dataclass(frozen=True)
class Piece:
    """A caller hears some text; ``position`` is the one after it."""

    call: int
    at_s: float
    text: str
    position: int


@dataclass(frozen=True)
class Reply:
    """A call has ended.

    Attributes:
        call: its number.
        at_s: seconds after the start of the run.
        position: of the session; None where the server did not say.
        is_busy: a stream still runs on the session.
        error: reason of the error, ``UNREACHABLE`` where the connection broke and the client gave up, the gRPC code of
            any other; ``CLOSED`` where the caller closed the stream, ``HUNG`` where nothing came; empty where all
            went well.
        message: of the error.
        resumes: how often the stream was resumed.
        stall_s: the longest that the caller waited for a piece, or for the reply.
    """

    call: int
    at_s: float
    position: int | None = None
    is_busy: bool = False
    error: str = ""
    message: str = ""
    resumes: int = 0
    stall_s: float = 0.0


@dataclass(frozen=True)
class Outage:
    """A fault was there, from the first to the second time, in seconds after the start of the run."""

    kind: str
    targets: tuple[str, ...]
    begin_s: float
    end_s: float


Entry = Call | Piece | Reply | Outage
_KINDS: dict[str, type[Entry]] = {"call": Call, "piece": Piece, "reply": Reply, "outage": Outage}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Recorder:
    """Writes entries to a file; any thread may note one."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def note(self, entry: Entry) -> None:
        """Write an entry."""
        line = json.dumps({"entry": _NAMES[type(entry)], **vars(entry)})
        with self._lock:
            self._file.write(line + "\n")


def read_history(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file."""
    with path.open() as file:
        yield from map(_parse, file)


def _parse(line: str) -> Entry:
    values: dict[str, Any] = json.loads(line)
    kind = _KINDS[values.pop("entry")]
    if kind is Outage:
        values["targets"] = tuple(values["targets"])
    return kind(**values)

"""Whether a history is one that the protocol allows: knows tapes and entries, and nothing of servers and callers.

A session is at one position, or, after a call that failed, within the bounds of what that call can have done. A piece
of text must begin where the one before ended and be what is on the tape there. A session may fall behind, or be
gone, only where the store was away when it was written last, or is away now.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chaos.history import CLOSED, HUNG, UNREACHABLE, Call, Outage, Piece, Reply
from chaos.tapes import Tape

_GONE = {"SESSION_NOT_FOUND", "SESSION_EXPIRED", "SESSION_EVICTED"}
_ANYWHERE = {UNREACHABLE, "DRAINING", "STORE_UNAVAILABLE", "SESSION_BUSY", "SESSION_MOVED", "QUEUE_FULL", CLOSED}
_DOCUMENTED = {
    "create": {"DEADLINE_EXCEEDED", "IDEMPOTENCY_CONFLICT"},
    "fork": {"DEADLINE_EXCEEDED", "IDEMPOTENCY_CONFLICT", "POSITION_MISMATCH"},
    "info": {"DEADLINE_EXCEEDED"},
    "rewind": {"DEADLINE_EXCEEDED", "POSITION_MISMATCH"},
    "delete": {"DEADLINE_EXCEEDED", "SESSION_NOT_FOUND"},  # the reply to one that succeeded may have been lost
    "generate": {"POSITION_MISMATCH"},
}
# A server that has lost its store tries it again after a moment. Redis writes its log before it answers, unless it
# waits for the disk; then up to two seconds later.
_BEFORE_S, _AFTER_S = 2.0, 5.0
_SHOWN = 60
_TELLING = 8


class Wrong(StrEnum):
    """What can be wrong."""

    LETTERS = "wrong letters"
    FOREIGN = "foreign text"
    GAP = "gap"
    DUPLICATE = "duplicate"
    ERROR = "undocumented error"
    LOST = "lost session"
    MISPLACED = "unexplained position"
    HUNG = "hung call"


@dataclass(frozen=True)
class Violation:
    """Something that is not allowed."""

    kind: Wrong
    call: int
    at_s: float
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: call {self.call} at {self.at_s:.3f} s: {self.message}"


@dataclass
class Verdict:
    """What a history comes to.

    Attributes:
        calls: how many were made, by verb.
        errors: with which they ended, by reason.
        characters: how many were heard.
        wrong_characters: how many of them were not what they had to be, were missing or came again.
        resumed: streams that broke and went on.
        longest_stall_s: the longest that a caller waited.
        unstored: times that a session was elsewhere or gone because the store was away, as is documented.
        violations: everything that is not allowed.
    """

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    wrong_characters: int = 0
    resumed: int = 0
    longest_stall_s: float = 0.0
    unstored: int = 0
    violations: list[Violation] = field(default_factory=list)


def check(tapes: Mapping[str, Tape], entries: Iterable[Call | Piece | Reply | Outage]) -> Verdict:
    """Return what a whole history comes to.

    Args:
        tapes: what must be heard, by name.
        entries: what happened, each caller's in order.
    """
    entries = [*entries]
    checker = _Checker(tapes, [entry for entry in entries if isinstance(entry, Outage)])
    for entry in entries:
        match entry:
            case Call():
                checker.begin(entry)
            case Piece():
                checker.hear(entry)
            case Reply():
                checker.end(entry)
    checker.close()
    return checker.verdict


@dataclass
class _Session:
    """Where a session can be if nothing of it was lost, and whether the last that was acknowledged could be stored.

    A call that failed may take effect late, until one that succeeds leaves it behind.
    """

    low: int
    high: int
    call: int
    at_s: float
    is_stored: bool
    may_fall: bool = False

    def place(self, position: int, reply: Reply, is_stored: bool) -> None:
        """Note where a call that succeeded has left it."""
        self.low = self.high = position
        self.call, self.at_s = reply.call, reply.at_s
        self.is_stored, self.may_fall = is_stored, False


@dataclass
class _Running:
    """A call without a reply; ``position`` is the one after what it brought, ``began`` the session's before."""

    call: Call
    position: int
    began: int
    heard: int = 0


class _Checker:
    def __init__(self, tapes: Mapping[str, Tape], outages: Sequence[Outage]) -> None:
        self.verdict = Verdict()
        self._tapes = tapes
        self._store_away = [
            (each.begin_s - _BEFORE_S, each.end_s + _AFTER_S) for each in outages if each.targets[-1] == "redis"
        ]
        self._sessions: dict[str, _Session] = {}
        self._running: dict[int, _Running] = {}

    def begin(self, call: Call) -> None:
        self.verdict.calls[call.verb] += 1
        self._running[call.call] = _Running(call, call.start + len(call.prompt), call.start)

    def hear(self, piece: Piece) -> None:
        running = self._running[piece.call]
        self.verdict.characters += len(piece.text)
        begin = piece.position - len(piece.text)
        if begin != running.position and not self._may_begin_elsewhere(running, piece):
            kind = Wrong.GAP if begin > running.position else Wrong.DUPLICATE
            self.verdict.wrong_characters += abs(begin - running.position)
            self._blame(kind, piece, f"a piece begins at {begin} after {running.position}")
        if not running.heard:
            running.began = begin - len(running.call.prompt)
        self._compare(piece, running.call, begin)
        running.position = piece.position
        running.heard += len(piece.text)

    def end(self, reply: Reply) -> None:
        running = self._running.pop(reply.call)
        call, verdict = running.call, self.verdict
        verdict.resumed += reply.resumes > 0
        verdict.longest_stall_s = max(verdict.longest_stall_s, reply.stall_s)
        if reply.error:
            verdict.errors[reply.error] += 1
            self._judge(reply, call)
        if call.verb == "delete":
            self._sessions.pop(call.session, None)
        elif reply.error in _GONE:
            self._lose(reply, call)
        elif reply.error:
            self._doubt(reply, running)
        elif call.verb == "generate":
            self._complete(reply, running)
        else:
            self._settle(reply, call)

    def close(self) -> None:
        """Note what never came to an end."""
        for name, session in self._sessions.items():
            self.verdict.violations.append(
                Violation(Wrong.LOST, session.call, session.at_s, f"{name} was not read to its end")
            )
        for running in self._running.values():
            call = running.call
            self.verdict.violations.append(Violation(Wrong.HUNG, call.call, call.at_s, f"{call.verb} has no reply"))

    def _compare(self, piece: Piece, call: Call, begin: int) -> None:
        expected = self._tapes[call.tape].text[max(begin, 0) : piece.position]
        if piece.text == expected:
            return
        self.verdict.wrong_characters += abs(len(piece.text) - len(expected)) + sum(
            heard != wanted for heard, wanted in zip(piece.text, expected, strict=False)
        )
        told = {name for name, tape in self._tapes.items() if piece.text == tape.text[begin : piece.position]}
        other = min(told, default="") if len(piece.text) >= _TELLING else ""
        what = f"{piece.text[:_SHOWN]!r} in place of {expected[:_SHOWN]!r}{other and f', which {other} is to hear'}"
        self._blame(Wrong.FOREIGN if other else Wrong.LETTERS, piece, what)

    def _judge(self, reply: Reply, call: Call) -> None:
        if reply.error == HUNG:
            self._blame(Wrong.HUNG, reply, f"{call.verb} of {call.session or call.tape}: {reply.message}")
        elif reply.error not in _ANYWHERE | _GONE | _DOCUMENTED[call.verb]:
            self._blame(Wrong.ERROR, reply, f"{call.verb}: {reply.error}: {reply.message}")

    def _lose(self, reply: Reply, call: Call) -> None:
        session = self._sessions.pop(call.session, None)
        if session is None:
            return
        if session.is_stored and self._can_store(call.at_s, reply.at_s):
            self._blame(Wrong.LOST, reply, f"{call.verb} of {call.session}: {reply.error}, it was at {session.low}")
        else:
            self.verdict.unstored += 1

    def _doubt(self, reply: Reply, running: _Running) -> None:
        """Note what a call that failed may have done."""
        call, session = running.call, self._sessions.get(running.call.session)
        if session is None:
            return
        if call.verb == "generate":
            session.high = max(session.high, call.start + len(call.prompt) + call.max_tokens)
        elif call.verb == "rewind":
            session.low, session.may_fall = min(session.low, int(call.to)), True
        if reply.position is not None:
            self._find(session, reply.position, reply, call)

    def _complete(self, reply: Reply, running: _Running) -> None:
        call, session = running.call, self._sessions.get(running.call.session)
        if running.heard != call.max_tokens or reply.position != running.position:
            self.verdict.wrong_characters += abs(call.max_tokens - running.heard)
            what = f"{running.heard} of {call.max_tokens} up to {running.position}"
            self._blame(Wrong.GAP, reply, f"finished at {reply.position} after {what}")
        if session is not None:
            self._find(session, running.began, reply, call)
            session.place(running.position, reply, self._can_store(call.at_s, reply.at_s))

    def _settle(self, reply: Reply, call: Call) -> None:
        position, is_stored = reply.position or 0, self._can_store(call.at_s, reply.at_s)
        session = self._sessions.get(call.session)
        if call.verb in ("create", "fork"):
            name = call.session if call.verb == "create" else str(call.to)
            if position != call.start:
                self._blame(Wrong.MISPLACED, reply, f"{name} begins at {position} in place of {call.start}")
            self._sessions[name] = _Session(position, position, reply.call, reply.at_s, is_stored)
        elif session is not None and call.verb == "rewind":
            self._find(session, call.start, reply, call)
            if position != call.to:
                self._blame(Wrong.MISPLACED, reply, f"rewound to {position} in place of {call.to}")
            session.place(position, reply, is_stored)
        elif session is not None:
            self._find(session, position, reply, call)
            if not reply.is_busy:
                session.is_stored &= position == session.low or self._can_store(session.at_s, reply.at_s)
                session.low = session.low if session.may_fall else position

    def _find(self, session: _Session, position: int, reply: Reply, call: Call) -> None:
        """Check that a session can be at a position."""
        if session.low <= position <= session.high:
            return
        if session.is_stored and self._can_store(call.at_s, reply.at_s):
            kind = Wrong.LOST if position < session.low else Wrong.MISPLACED
            bounds = f"{session.low} to {session.high}"
            self._blame(kind, reply, f"{call.verb} of {call.session}: it is at {position}, it can be at {bounds}")
        else:  # a server that is without the store has what it has, and so has another
            self.verdict.unstored += 1
        session.low, session.high = min(session.low, position), max(session.high, position)

    def _may_begin_elsewhere(self, running: _Running, piece: Piece) -> bool:
        """Tell whether a caller who names no position may be told something else than it expects."""
        session, call = self._sessions.get(running.call.session), running.call
        is_certain = session is None or (session.is_stored and self._can_store(call.at_s, piece.at_s))
        return not (running.heard or call.is_sure or is_certain)

    def _can_store(self, begin_s: float, end_s: float) -> bool:
        return not any(begin_s < until_s and end_s > from_s for from_s, until_s in self._store_away)

    def _blame(self, kind: Wrong, entry: Piece | Reply, message: str) -> None:
        self.verdict.violations.append(Violation(kind, entry.call, entry.at_s, message))

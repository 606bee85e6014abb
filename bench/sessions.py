"""Opens sessions, many at a time."""

import selectors

from bench.connection import Connection
from bench.http2 import ProtocolError
from bench.wire import CREATE_SESSION

_AT_ONCE = 100


class _Answers:
    """Counts answers and ends of CreateSession calls."""

    def __init__(self) -> None:
        self.answers = self.ends = 0

    def take(self, message: bytes, now: float) -> None:  # noqa: ARG002 - the id is never used
        self.answers += 1

    def end(self, now: float, fault: str) -> None:  # noqa: ARG002
        if fault:
            raise ProtocolError(fault)
        self.ends += 1


def open_sessions(target: str, number: int) -> None:
    """Open sessions and leave them.

    Raises:
        ProtocolError: some were refused.
    """
    connection, answers, begun = Connection(target), _Answers(), 0
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while answers.ends < number:
            while begun < number and begun - answers.ends < _AT_ONCE:
                connection.call(CREATE_SESSION, b"", answers)
                begun += 1
            connection.flush()
            selector.select(1.0)
            connection.receive()
    connection.close()
    if answers.answers != number:
        raise ProtocolError(f"{answers.answers} of {number} sessions were made")

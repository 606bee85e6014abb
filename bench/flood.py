"""More load than a server can take: an open loop of which most calls are refused, in a process of its own.

``python -m bench.flood PLAN``, where PLAN is a ``Plan`` as JSON, prints a ``Report`` as JSON. A call either brings
everything that was asked for, or is refused before its first message; anything else is a fault.
"""

import json
import random
import selectors
import sys
import time
from dataclasses import asdict, dataclass, field

import psutil

from bench.connection import Connection
from bench.http2 import ProtocolError
from bench.load import LENGTH, PROMPT_LENGTH
from bench.percentiles import percentile, weighted_percentile
from bench.traffic import TEXT
from bench.wire import GENERATE, read_response, write_request

_NAP_S = 0.0005
_TURN_S = 0.01
_CONNECTIONS = 8  # a server takes only so many calls from one
_FAULTS_TOLD = 5


@dataclass(frozen=True)
class Plan:
    """What load to make.

    Attributes:
        target: ``host:port``.
        rate: calls a second, with Poisson arrivals.
        streams: callers of a closed loop in place of an open one, where that is not 0.
        warm_up_s: time before the window.
        seconds: length of the window.
        length: characters that each call asks for.
        token: says who calls; empty where nobody is asked.
    """

    target: str
    rate: float = 0.0
    streams: int = 0
    warm_up_s: float = 2.0
    seconds: float = 10.0
    length: int = LENGTH
    token: str = ""


@dataclass(frozen=True)
class Report:
    """What a window saw; durations in seconds, NaN where nothing was seen.

    Attributes:
        offered_per_s: calls made.
        goodput: characters a second, of calls that were not refused.
        completed: calls that brought everything.
        refused: calls that were refused.
        refusal_p50_s: from sending to the refusal.
        first_p50_s: from the time for which it was scheduled to the first token.
        token_p50_s: between two tokens of a stream.
        load_cores: CPU of this process as a share of one core.
        faults: what else happened, at most a few of them.
    """

    offered_per_s: float
    goodput: float
    completed: int
    refused: int
    refusal_p50_s: float
    refusal_p99_s: float
    refusal_max_s: float
    first_p50_s: float
    first_p99_s: float
    token_p50_s: float
    token_p99_s: float
    load_cores: float
    faults: list[str]


@dataclass
class Log:
    """What happens while it is open."""

    is_open: bool = False
    offered: int = 0
    characters: int = 0
    completed: int = 0
    refusals_s: list[float] = field(default_factory=list)
    firsts_s: list[float] = field(default_factory=list)
    gaps: list[tuple[float, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Call:
    """The receiver of one call."""

    __slots__ = ("_due", "_is_finished", "_last", "_left", "_log", "_on_end", "_sent")

    def __init__(self, log: Log, due: float, sent: float, length: int, on_end: list[int]) -> None:
        self._log, self._due, self._sent, self._left = log, due, sent, length
        self._last = 0.0
        self._is_finished = False
        self._on_end = on_end
        on_end[0] += 1

    def take(self, message: bytes, now: float) -> None:
        """Take a response."""
        characters, _, self._is_finished = read_response(message)
        if self._is_finished:
            return
        self._left -= characters
        if self._log.is_open:
            self._log.characters += characters
            if self._last:
                self._log.gaps.append(((now - self._last) / characters, characters))
            else:
                self._log.firsts_s.append(now - self._due)
        self._last = now

    def end(self, now: float, fault: str) -> None:
        """Judge the call."""
        self._on_end[0] -= 1
        log = self._log
        if not log.is_open:
            return
        if self._is_finished and not self._left:
            log.completed += 1
        elif not self._last and not fault:
            log.refusals_s.append(now - self._sent)
        elif len(log.faults) < _FAULTS_TOLD:
            log.faults.append(fault or f"a call ended {self._left} characters early")


def run(plan: Plan) -> Report:
    """Make the load.

    Raises:
        ProtocolError: the connection broke.
    """
    metadata = {"authorization": f"Bearer {plan.token}"} if plan.token else {}
    connections = [Connection(plan.target, metadata) for _ in range(_CONNECTIONS)]
    log, chance = Log(), random.Random(1)
    running, serial = [0], 0
    started = time.perf_counter()
    opens, closes = started + plan.warm_up_s, started + plan.warm_up_s + plan.seconds
    due, cpu_s = started, 0.0
    process = psutil.Process()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while (now := time.perf_counter()) < closes:
            if not log.is_open and now >= opens:
                log.is_open, cpu_s = True, sum(process.cpu_times()[:2])
            while running[0] < plan.streams if plan.streams else due <= now:
                start = serial % len(TEXT)
                request = write_request((TEXT * 2)[start : start + PROMPT_LENGTH], plan.length, serial)
                sent = time.perf_counter()
                call = Call(log, sent if plan.streams else due, sent, plan.length, running)
                connections[serial % _CONNECTIONS].call(GENERATE, request, call)
                serial += 1
                log.offered += log.is_open
                due += chance.expovariate(plan.rate) if plan.rate else 0.0
            for connection in connections:
                connection.flush()
            turn_s = _TURN_S if plan.streams else max(0.0, min(_TURN_S, due - time.perf_counter()))
            if selector.select(turn_s):
                time.sleep(_NAP_S)
                for key, _ in selector.select(0):
                    key.fileobj.receive()  # type: ignore[union-attr]  # a connection
    for connection in connections:
        connection.close()
    return Report(
        offered_per_s=log.offered / plan.seconds,
        goodput=log.characters / plan.seconds,
        completed=log.completed,
        refused=len(log.refusals_s),
        refusal_p50_s=percentile(log.refusals_s, 0.5),
        refusal_p99_s=percentile(log.refusals_s, 0.99),
        refusal_max_s=max(log.refusals_s, default=float("nan")),
        first_p50_s=percentile(log.firsts_s, 0.5),
        first_p99_s=percentile(log.firsts_s, 0.99),
        token_p50_s=weighted_percentile(log.gaps, 0.5),
        token_p99_s=weighted_percentile(log.gaps, 0.99),
        load_cores=(sum(process.cpu_times()[:2]) - cpu_s) / plan.seconds,
        faults=log.faults,
    )


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(run(Plan(**json.loads(sys.argv[1]))))))
    except ProtocolError as error:
        sys.exit(str(error))

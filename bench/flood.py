"""More load than a server can take: an open loop of which most calls are refused, in a process of its own.

``python -m bench.flood PLAN``, where PLAN is a ``Plan`` as JSON, prints a ``Report`` as JSON. A call either brings
everything that was asked for, or is refused before its first message; anything else is a fault.
"""

import gc
import json
import math
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
_DRAIN_LIMIT_S = 60.0


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
        text: characters the prompts are cut from, all of the bundle's vocabulary.
        hangs_up: what runs when the window is over is broken off, all in one moment; otherwise it may end.
        token: says who calls; empty where nobody is asked.
    """

    target: str
    rate: float = 0.0
    streams: int = 0
    warm_up_s: float = 2.0
    seconds: float = 10.0
    length: int = LENGTH
    text: str = TEXT
    hangs_up: bool = False
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
        load_turn_max_s: the longest turn of this process, for which a message may have waited that had come.
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
    load_turn_max_s: float
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
        log, is_complete = self._log, self._is_finished and not self._left
        is_refused = not (self._last or self._is_finished or fault)
        if not is_complete and not is_refused and len(log.faults) < _FAULTS_TOLD:
            log.faults.append(fault or f"a call ended {self._left} characters early")
        if log.is_open:
            log.completed += is_complete
            if is_refused:
                log.refusals_s.append(now - self._sent)


class Flood:
    """The calls of a plan, and who waits for them.

    Attributes:
        log: what becomes of them.
    """

    def __init__(self, plan: Plan) -> None:
        metadata = {"authorization": f"Bearer {plan.token}"} if plan.token else {}
        self.log = Log()
        self._plan = plan
        self._connections = [Connection(plan.target, metadata) for _ in range(_CONNECTIONS)]
        self._selector = selectors.DefaultSelector()
        for connection in self._connections:
            self._selector.register(connection, selectors.EVENT_READ)
        self._running, self._serial = [0], 0
        self._chance, self._due = random.Random(1), time.perf_counter()

    def offer(self, now: float) -> None:
        """Make the calls that are due."""
        plan = self._plan
        while self._running[0] < plan.streams if plan.streams else self._due <= now:
            start = self._serial % len(plan.text)
            request = write_request((plan.text * 2)[start : start + PROMPT_LENGTH], plan.length, self._serial)
            sent = time.perf_counter()
            call = Call(self.log, sent if plan.streams else self._due, sent, plan.length, self._running)
            self._connections[self._serial % _CONNECTIONS].call(GENERATE, request, call)
            self._serial += 1
            self.log.offered += self.log.is_open
            self._due += self._chance.expovariate(plan.rate) if plan.rate else 0.0

    def turn(self) -> None:
        """Send what is to be sent, and take what comes until the next call is due."""
        for connection in self._connections:
            connection.flush()
        wait_s = self._due - time.perf_counter() if self._plan.rate else _TURN_S
        if self._selector.select(max(0.0, min(wait_s, _TURN_S))):
            time.sleep(_NAP_S)
            for key, _ in self._selector.select(0):
                key.fileobj.receive()  # type: ignore[union-attr]  # a connection

    def drain(self) -> None:
        """Make no more calls, and let those end that run."""
        self._due, limit = math.inf, time.perf_counter() + _DRAIN_LIMIT_S
        while self._running[0]:
            if time.perf_counter() > limit:
                self.log.faults.append(f"{self._running[0]} calls did not end")
                return
            self.turn()

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        for connection in self._connections:
            connection.close()


def run(plan: Plan) -> Report:
    """Make the load.

    Raises:
        ProtocolError: the connection broke.
    """
    flood, process = Flood(plan), psutil.Process()
    log, looked = flood.log, time.perf_counter()
    opens, cpu_s, longest_s = looked + plan.warm_up_s, 0.0, 0.0
    while (now := time.perf_counter()) < opens + plan.seconds:
        if log.is_open:
            longest_s = max(longest_s, now - looked)
        elif now >= opens:
            log.is_open, cpu_s = True, sum(process.cpu_times()[:2])
        looked = now
        flood.offer(now)
        flood.turn()
    log.is_open, cpu_s = False, sum(process.cpu_times()[:2]) - cpu_s
    if not plan.hangs_up:
        flood.drain()
    flood.close()
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
        load_cores=cpu_s / plan.seconds,
        load_turn_max_s=longest_s,
        faults=log.faults,
    )


if __name__ == "__main__":
    gc.disable()  # what waits for a collection here would count as waiting for the server
    try:
        print(json.dumps(asdict(run(Plan(**json.loads(sys.argv[1]))))))
    except ProtocolError as error:
        sys.exit(str(error))

"""The load generator: one thread, a selector and raw HTTP/2 in a process of its own, so that it costs little.

``python -m bench.load PLAN``, where PLAN is a ``Plan`` as JSON, prints a ``Report`` as JSON. Every generation is
checked: it must end with a finish and have brought exactly the characters it was to bring.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bench.journal import Journal, Report
from bench.traffic import TEXT, Traffic
from bench.window import Window

PROMPT_LENGTH = 16
LENGTH = 200
_CROWD = 16
_NAP_S = 0.0005
_DRAIN_LIMIT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What load to make.

    Attributes:
        target: ``host:port``.
        streams: callers of a closed loop; each begins the next generation as soon as one ends.
        rate: generations per second of an open loop with Poisson arrivals; 0 makes a closed loop.
        warm_up_s: time before the window.
        seconds: length of the window.
        generations: how many to make in all, in place of a window by time; 0 for no such limit.
        model: name of the bundle.
        text: characters the prompts are cut from, all of the bundle's vocabulary.
        max_chunk_tokens: most tokens that a message may carry; 0 leaves it to the server.
        server_pid: the server's process, whose CPU is to be measured; 0 for none.
    """

    target: str
    streams: int = 1
    rate: float = 0.0
    warm_up_s: float = 0.5
    seconds: float = 2.0
    generations: int = 0
    model: str = ""
    text: str = TEXT
    max_chunk_tokens: int = 0
    server_pid: int = 0


def run(plan: Plan) -> Report:
    """Make the load.

    Raises:
        TimeoutError: generations did not end within a minute after the last one had begun.
        ProtocolError: a connection broke.
    """
    nap_s = _NAP_S if plan.rate or plan.streams >= _CROWD else 0.0
    traffic = Traffic(
        plan.target, nap_s=nap_s, model=plan.model, text=plan.text, max_chunk_tokens=plan.max_chunk_tokens
    )
    journal, started = Journal(), time.perf_counter()
    warm_up_s = 0.0 if plan.generations else plan.warm_up_s
    window_s = float("inf") if plan.generations else plan.seconds
    window = Window(journal, started + warm_up_s, started + warm_up_s + window_s, plan.server_pid)
    arrivals = _arrivals(plan, started)
    due, left = next(arrivals), plan.generations or sys.maxsize
    deadline = float("inf")
    try:
        window.turn(started)
        while traffic.running or (left and not window.is_over):
            now = time.perf_counter()
            window.turn(now)
            if now > deadline:
                raise TimeoutError(f"{traffic.running} generations did not end within {_DRAIN_LIMIT_S:g} s")
            while left and not window.is_over and due[0] <= now:
                traffic.begin(journal, prompt_length=PROMPT_LENGTH, length=due[1], sent=due[0] if plan.rate else now)
                due, left = next(arrivals), left - 1
            if deadline == float("inf") and (window.is_over or not left):
                deadline = now + _DRAIN_LIMIT_S
            ended = traffic.turn(min(window.seconds_left(now), due[0] - now if left else 1.0, 1.0))
            if not plan.rate and not window.is_over:
                for _ in ended[:left]:
                    traffic.begin(journal, prompt_length=PROMPT_LENGTH, length=LENGTH, sent=time.perf_counter())
                    left -= 1
        window.turn(time.perf_counter(), is_forced=True)
    finally:
        traffic.close()
    return journal.summarize(*window.elapsed(), traffic.completed, traffic.tell_faults())


def _arrivals(plan: Plan, started: float) -> Iterator[tuple[float, int]]:
    """Yield time and length of the generations that begin by the clock: all of an open loop, the first of a closed.

    The first ones of a closed loop have different lengths, so that callers do not march in step.
    """
    if plan.rate:
        chance, at = random.Random(0), started
        while True:
            at += chance.expovariate(plan.rate)
            yield at, LENGTH
    for caller in range(plan.streams):
        yield started, LENGTH if plan.generations else max(1, LENGTH * (caller + 1) // plan.streams)
    yield float("inf"), LENGTH


if __name__ == "__main__":
    print(json.dumps(asdict(run(Plan(**json.loads(sys.argv[1]))))))

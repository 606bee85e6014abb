"""What is seen of a server from outside while it is loaded, and a picture of that."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from matplotlib.figure import Figure
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import ServerProcess
from unrolled_export.plot import style_axes, to_png

_LAG_SHARE = 0.99


@dataclass(frozen=True)
class Sample:
    """A server at a moment.

    Attributes:
        at_s: seconds since the first look.
        memory_bytes: resident.
        threads, descriptors: of the process; sockets are descriptors.
        active, waiting: streams that run or rest, and that wait for a row.
        slots, sessions: slots in use; sessions.
        lag_s: 99 of 100 times since the look before, the event loop was no later than this.
    """

    at_s: float
    memory_bytes: int
    threads: int
    descriptors: int
    active: int
    waiting: int
    slots: int
    sessions: int
    lag_s: float


class Sampler:
    """Looks at a server.

    Args:
        server: at which.
        interval_s: how often.

    Attributes:
        samples: what was seen by ``sampling``.
    """

    def __init__(self, server: ServerProcess, interval_s: float) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._process = psutil.Process(server.process.pid)
        self._interval_s = interval_s
        self._started = time.monotonic()
        self._lags: dict[float, float] = {}

    def look(self) -> Sample:
        """Return what is there now."""
        page: dict[str, float] = {}
        lags: dict[float, float] = {}
        for family in text_string_to_metric_families(self._server.read_page()):
            for each in family.samples:
                page[each.name] = page.get(each.name, 0.0) + each.value
                if each.name == "unrolled_event_loop_lag_seconds_bucket":
                    lags[float(each.labels["le"])] = each.value
        lag_s, self._lags = _quantile(lags, self._lags), lags
        return Sample(
            at_s=time.monotonic() - self._started,
            memory_bytes=self._process.memory_info().rss,
            threads=self._process.num_threads(),
            descriptors=self._process.num_fds(),
            active=int(page["unrolled_streams_active"]),
            waiting=int(page["unrolled_streams_waiting"]),
            slots=int(page["unrolled_slots_in_use"]),
            sessions=int(page["unrolled_sessions"]),
            lag_s=lag_s,
        )

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Look again and again until the block ends."""
        is_over = threading.Event()

        def sample() -> None:
            while not is_over.wait(self._interval_s):
                self.samples.append(self.look())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def draw(samples: Sequence[Sample], title: str) -> bytes:
    """Draw what was seen over the minutes, as a PNG."""
    figure = Figure(figsize=(8, 9), dpi=150, layout="constrained")
    places = figure.subplots(5, 1, sharex=True)
    minutes = [sample.at_s / 60 for sample in samples]
    curves: list[tuple[str, dict[str, Callable[[Sample], float]]]] = [
        ("resident memory, MiB", {"memory": lambda sample: sample.memory_bytes / 2**20}),
        (
            "threads, descriptors",
            {"threads": lambda each: each.threads, "files": lambda each: each.descriptors},
        ),
        ("streams", {"active": lambda sample: sample.active, "waiting": lambda sample: sample.waiting}),
        ("sessions", {"sessions": lambda sample: sample.sessions, "slots": lambda sample: sample.slots}),
        ("event loop's lag, ms (p99)", {"lag": lambda sample: 1000 * sample.lag_s}),
    ]
    for axes, (name, lines) in zip(places, curves, strict=True):
        style_axes(axes, name)
        for label, read in lines.items():
            axes.plot(minutes, [read(sample) for sample in samples], linewidth=1, label=label)
        axes.set_ylim(bottom=0)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize="small", ncols=len(lines))
    places[-1].set_xlabel("minutes")
    figure.suptitle(title)
    return to_png(figure)


def _quantile(now: dict[float, float], before: dict[float, float]) -> float:
    """Return the bound below which so many of the observations between two looks at a histogram lie."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in now.items()}
    total = max(counts.values())
    return min((bound for bound, count in counts.items() if total and count >= _LAG_SHARE * total), default=0.0)

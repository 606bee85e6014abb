"""What operators see: the metrics by their documented names.

The only module that imports prometheus_client, but for the histogram beside it. Counters move once a
slice, on the event loop; gauges are read when somebody scrapes.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from unrolled_service.engine import Engine
from unrolled_service.errors import DIFFERENCES, REASONS
from unrolled_service.lanes.lane import STAGES, Lane
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.finish import Finish, FinishReason
from unrolled_service.rows.slice import Slice
from unrolled_service.tally import Tally

disable_created_metrics()  # type: ignore[no-untyped-call]  # a creation time beside every counter is noise in the text format

SNAPSHOT_OPERATIONS = ("export", "import")
STORE_OPERATIONS = ("create", "claim", "write", "release", "delete", "ping")
BUNDLE_FAILURES = ("golden", "invalid")
FINISHES = (*(reason.value for reason in FinishReason), "cancelled")
_SECONDS = (
    *(50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
_COUNTS = tuple(2.0**power for power in range(11))
_SHORT_HEX = 12  # enough to tell machines apart

_Lanes = Callable[[Engine], Iterable[Lane]]


def _cells(engine: Engine) -> Iterable[Lane]:
    return engine.every_lane.values()


def _turns(engine: Engine) -> Iterable[Lane]:
    return engine.turns


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        engines: read for gauges when somebody scrapes; they serve the same bundles, which come and go.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.registry = CollectorRegistry()
        self._engines = engines
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._tokens = self._counter("tokens", "Tokens fed from prompts, and handed to callers", "model", "phase")
        self._streams_of_all = self._counter("streams", "Streams that ended", "model", "finish")
        self._prompt_tokens: dict[str, Counter] = {}
        self._generated_tokens: dict[str, Counter] = {}
        self._streams: dict[tuple[str, str], Counter] = {}
        for model in engines[0].lanes:
            self.add_model(model)
        self._rejected = self._counter("rejected", "Calls refused", "reason")
        for reason in (*REASONS, "INTERNAL"):
            self._rejected.labels(reason)
        self._mismatches = self._counter(
            "mismatches", "Calls refused to go on with what came from elsewhere", "differs"
        )
        for differs in DIFFERENCES:
            self._mismatches.labels(differs)
        self._rpc = self._counter("rpc", "Calls that ended", "method", "code")
        self._calls: dict[tuple[str, str], Counter] = {}
        evictions = self._counter("session_evictions", "Sessions ended by the server", "reason")
        self._expired, self._evicted = evictions.labels("expired"), evictions.labels("room")
        self._unloaded = evictions.labels("unload")
        self._forks = self._counter("session_forks", "Sessions that began as copies of others")
        operations = self._counter("snapshot_operations", "Snapshots handed out and taken in", "operation")
        self._snapshots = {operation: operations.labels(operation) for operation in SNAPSHOT_OPERATIONS}
        self._store_seconds = self._seconds("store_operation", "Time of a call of the store", "operation")
        self._store_failures = self._counter("store_failures", "Calls of the store without an answer", "operation")
        for operation in STORE_OPERATIONS:
            self._store_seconds.labels(operation)
            self._store_failures.labels(operation)
        failures = self._counter("bundle_load_failures", "Bundles, or forms of them, that were not taken", "reason")
        self._bundle_failures = {reason: failures.labels(reason) for reason in BUNDLE_FAILURES}
        self._time_to_first_token = self._seconds("time_to_first_token", "From a call's arrival to its first token")
        self._queue_wait = self._seconds("queue_wait", "From a call's arrival to its first place in a slice")
        self._stream_duration = self._seconds("stream_duration", "From a call's arrival to its last token")
        self._event_loop_lag = self._seconds("event_loop_lag", "How late the event loop does what is due")
        stages = self._seconds("slice_duration", "Time of each beat of a slice", "stage")
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._rows = Histogram("unrolled_slice_rows", "Rows of a slice", buckets=_COUNTS, registry=self.registry)
        self._steps = Histogram("unrolled_slice_steps", "Steps of a slice", buckets=_COUNTS, registry=self.registry)
        self._inter_token_latency = Tally(
            "unrolled_inter_token_latency_seconds", "Time per token since a stream's tokens before", _SECONDS
        )
        self.registry.register(self._inter_token_latency)
        self._add_gauges()

    def add_model(self, model: str) -> None:
        """Begin the counters of a model; they stay when it goes, and go on when it comes back."""
        self._prompt_tokens[model] = self._tokens.labels(model, "prompt")
        self._generated_tokens[model] = self._tokens.labels(model, "generated")
        for end in FINISHES:
            self._streams[model, end] = self._streams_of_all.labels(model, end)

    def show_models(self, bundles: Iterable[Bundle]) -> None:
        """Take in which bundles there are."""
        self._models.clear()
        for bundle in bundles:
            numerics = bundle.host.numerics.hex()[:_SHORT_HEX]
            self._models.labels(bundle.name, bundle.sha256, bundle.precision, numerics).set(1)

    def count_slice(self, done: Slice) -> None:
        """Take in what a slice did."""
        self._prompt_tokens[done.model].inc(done.prompt_tokens)
        self._generated_tokens[done.model].inc(done.generated_tokens)
        if done.rows:
            self._rows.observe(done.rows)
            self._steps.observe(done.steps)
        for stage, seconds in done.stages_s.items():
            self._stages[stage].observe(seconds)
        for wait_s in done.queue_waits_s:
            self._queue_wait.observe(wait_s)
        for wait_s in done.first_tokens_s:
            self._time_to_first_token.observe(wait_s)
        for gap_s, tokens in done.gaps.items():
            self._inter_token_latency.observe(gap_s, tokens)

    def count_stream(self, model: str, finish: Finish) -> None:
        """Take in a stream that finished, and whose caller has taken everything but the word of it."""
        self._streams[model, finish.reason.value].inc()
        self._stream_duration.observe(finish.total_s)

    def count_broken_stream(self, model: str, end: str) -> None:
        """Take in a stream whose caller did not take everything: ``cancelled`` or ``error``."""
        self._streams[model, end].inc()

    def count_rejection(self, reason: str, differs: str | None = None) -> None:
        """Take in a refused call, and what of this server differs from what it was to go on with."""
        self._rejected.labels(reason).inc()
        if differs is not None:
            self._mismatches.labels(differs).inc()

    def count_rpc(self, method: str, code: str) -> None:
        """Take in the end of a call of a known method."""
        counter = self._calls.get((method, code))
        if counter is None:
            counter = self._calls[method, code] = self._rpc.labels(method, code)
        counter.inc()

    def count_expired(self, sessions: int) -> None:
        """Take in sessions that were idle for too long. Any thread may call it."""
        self._expired.inc(sessions)

    def count_evicted(self) -> None:
        """Take in a session that was given up to make room. Any thread may call it."""
        self._evicted.inc()

    def count_unloaded(self, sessions: int) -> None:
        """Take in sessions that were given up with their bundle."""
        self._unloaded.inc(sessions)

    def count_forks(self, sessions: int) -> None:
        """Take in sessions that were made as copies."""
        self._forks.inc(sessions)

    def count_snapshot(self, operation: str) -> None:
        """Take in a snapshot: ``export`` or ``import``."""
        self._snapshots[operation].inc()

    def observe_store_operation(self, operation: str, seconds: float, is_answered: bool) -> None:
        """Take in a call of the store."""
        self._store_seconds.labels(operation).observe(seconds)
        if not is_answered:
            self._store_failures.labels(operation).inc()

    def count_bundle_failure(self, reason: str) -> None:
        """Take in a bundle, or a form of one, that was not taken.

        Args:
            reason: ``golden`` where this machine does not repeat its golden run, else ``invalid``.
        """
        self._bundle_failures[reason].inc()

    def count_passed_over(self, bundle: Bundle) -> None:
        """Take in the forms of a loaded bundle that this machine does not repeat."""
        for _ in bundle.passed_over:
            self.count_bundle_failure("golden")

    def observe_event_loop_lag(self, lag_s: float) -> None:
        """Take in how late the event loop was."""
        self._event_loop_lag.observe(lag_s)

    def _add_gauges(self) -> None:
        self._gauge("streams_active", "Streams that run or wait for their readers", _active, _turns)
        self._gauge("streams_waiting", "Streams that wait for a row", lambda lane: lane.scheduler.waiting, _turns)
        self._gauge("slots", "Slots of state memory", lambda lane: lane.residency.arena.capacity)
        self._gauge("slots_in_use", "Slots of state memory in use", lambda lane: lane.residency.arena.slots_in_use)
        self._gauge("state_bytes", "Bytes kept for sessions: states and histories", _state_bytes)
        draining = Gauge("unrolled_draining", "Whether the server refuses new work to go away", registry=self.registry)
        draining.set_function(lambda: any(engine.is_draining for engine in self._engines))
        sessions = Gauge("unrolled_sessions", "Sessions by where their state is", ["tier"], registry=self.registry)
        sessions.labels("resident").set_function(lambda: self._sum(lambda lane: lane.residency.arena.slots_in_use))
        sessions.labels("packed").set_function(
            lambda: self._sum(lambda lane: lane.sessions - lane.residency.arena.slots_in_use)
        )
        labels = ["model", "sha256", "precision", "numerics"]
        self._models = Gauge("unrolled_model_info", "A bundle served; always 1", labels, registry=self.registry)
        self.show_models(lane.bundle for lane in self._engines[0].lanes.values())
        Info("unrolled_build", "The server's build", registry=self.registry).info({"version": version("unrolled")})

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"unrolled_{name}", documentation, labels, registry=self.registry)

    def _seconds(self, name: str, documentation: str, *labels: str) -> Histogram:
        name = f"unrolled_{name}_seconds"
        return Histogram(name, documentation, labels, buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, documentation: str, read: Callable[[Lane], float], every: _Lanes = _cells) -> None:
        gauge = Gauge(f"unrolled_{name}", documentation, registry=self.registry)
        gauge.set_function(lambda: self._sum(read, every))

    def _sum(self, read: Callable[[Lane], float], every: _Lanes = _cells) -> float:
        """Return the sum over the lanes that there are now."""
        return sum(read(lane) for engine in self._engines for lane in every(engine))


def _active(lane: Lane) -> int:
    return lane.scheduler.running + lane.scheduler.resting


def _state_bytes(lane: Lane) -> int:
    return lane.residency.state_bytes

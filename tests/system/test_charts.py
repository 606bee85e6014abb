"""Every chart and every rule, asked of a real Prometheus that watches a server: against what callers counted."""

import asyncio
import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.charts import DASHBOARDS
from deploy.grafana.promql import WINDOW
from tests.support.alphabet import write_bundle
from tests.support.prometheus import RULES, Prometheus, Value, find_selectors, read_rules, running_prometheus
from tests.support.redis import running_redis
from tests.support.server import ServerProcess, running_server, wait_until
from tests.support.windows import SMALL_WINDOW
from unrolled_client import AsyncClient
from unrolled_client.errors import InvalidField, PositionMismatch, SessionNotFound

pytestmark = [pytest.mark.program("prometheus"), pytest.mark.program("redis-server")]
CALLERS, ROUNDS, TOKENS = 16, 4, 300
SHORT_TOKENS = 50
MAX_SESSIONS = 40
BRIEF_SESSIONS, SPARE_SESSIONS, EVICTIONS = 3, MAX_SESSIONS, 7
FORKS, WORKED_SESSIONS = 2, 5
MAX_TOKENS, REFUSED = 1000, 6
MANY_SESSIONS, STRANGE_METHODS, AT_ONCE = 10_000, 500, 64
ROUNDS_A_TEXT = 4
ENDLESS, ROWS, WAITING, SLOTS, USED_SESSIONS = 100_000_000, 2, 2, 10, 13
MODEL = "alphabet"
RATE = re.compile(rf"rate\(((?:unrolled|process)_\w+{{[^}}]*}})\[{re.escape(WINDOW)}\]\)")
PANELS = {
    f"{dashboard.uid}/{panel.title}/{panel.kind}": [query.expr for query in panel.queries]
    for dashboard in DASHBOARDS
    for row in dashboard.rows
    for panel in row.panels
}
CLIENT_CALLS = "/unrolled.v1."


class Counts:
    """What callers counted, by the labels of the metric that says the same."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.snapshots: Counter[str] = Counter()
        self.evictions: Counter[str] = Counter()
        self.forks = 0
        self.sessions = 0

    def note(self, method: str, code: str = "OK", *, times: int = 1) -> None:
        """Count calls of a method."""
        self.calls[CLIENT_CALLS + method] += times
        self.codes[code] += times

    def note_text(self, prompt: str, text: str) -> None:
        """Count a stream that gave its whole text."""
        self.note("GenerationService/Generate")
        self.streams["length"] += 1
        self.tokens["prompt"] += len(prompt)
        self.tokens["generated"] += len(text)


async def make_load(target: str) -> Counts:
    """Make every kind of call that moves a metric, and count it."""
    counts = Counts()
    async with AsyncClient(target, resume=None) as client:
        for _ in range(BRIEF_SESSIONS):
            await client.create_session(ttl_s=1)
        counts.note("SessionService/CreateSession", times=BRIEF_SESSIONS)
        counts.evictions["expired"] += BRIEF_SESSIONS
        await asyncio.gather(*(_generate(client, counts) for _ in range(CALLERS)))
        for _ in range(WORKED_SESSIONS):
            await _work_on_session(client, counts)
        for _ in range(REFUSED):
            with suppress(InvalidField):
                await client.generate("a", max_tokens=MAX_TOKENS + 1).read()
            with suppress(SessionNotFound):
                await client.get_session("nobody")
        counts.note("GenerationService/Generate", "INVALID_ARGUMENT", times=REFUSED)
        counts.note("SessionService/GetSession", "NOT_FOUND", times=REFUSED)
        counts.refusals.update(INVALID_FIELD=REFUSED, SESSION_NOT_FOUND=REFUSED)
    return counts


async def fill_sessions(target: str, counts: Counts) -> None:
    """Make so many sessions that some of them are given up."""
    async with AsyncClient(target, resume=None) as client:
        for _ in range(SPARE_SESSIONS + EVICTIONS):
            await client.create_session()
    counts.note("SessionService/CreateSession", times=SPARE_SESSIONS + EVICTIONS)
    counts.evictions["room"] += EVICTIONS
    counts.sessions += SPARE_SESSIONS


async def _generate(client: AsyncClient, counts: Counts) -> None:
    for _ in range(ROUNDS):
        counts.note_text("a", await client.generate("a", max_tokens=TOKENS).read())


async def _work_on_session(client: AsyncClient, counts: Counts) -> None:
    async with client.session() as session:
        counts.note_text("abc", await session.generate("abc", max_tokens=SHORT_TOKENS).read())
        with suppress(PositionMismatch):
            await session.generate("a", max_tokens=1, expected_position=7).read()
        counts.note("GenerationService/Generate", "FAILED_PRECONDITION")
        counts.refusals["POSITION_MISMATCH"] += 1
        copies = [*await session.fork(FORKS), await client.restore(await session.snapshot())]
        for copy in copies:
            await copy.delete()
    counts.forks += FORKS
    counts.snapshots.update(["export", "import"])
    for method in ("CreateSession", "ForkSession", "ExportSnapshot", "ImportSnapshot"):
        counts.note(f"SessionService/{method}")
    counts.note("SessionService/DeleteSession", times=len(copies) + 1)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Counts]]:
    """A Prometheus with the shipped rules that has seen a load from its beginning to its end."""
    folder = tmp_path_factory.mktemp("busy")
    keys = folder / "snapshot.keys"
    keys.touch(0o600)
    keys.write_text(f"test:{secrets.token_hex(32)}\n")
    with running_redis() as redis:
        with running_server(
            write_bundle(folder / MODEL),
            store=redis.url,
            snapshot_keys=str(keys),
            engine_threads=1,
            max_sessions=MAX_SESSIONS,
            evict_after_s=0,
            max_tokens=MAX_TOKENS,
        ) as server:
            target = server.metrics_url.removeprefix("http://")
            with running_prometheus(target, sorted(RULES.glob("*.yml"))) as prometheus:
                wait_until(lambda: (prometheus.ask_number("count_over_time(up[1m])") or 0) >= 2, "it scrapes")
                counts = asyncio.run(make_load(server.address))
                expired = 'unrolled_session_evictions_total{reason="expired"}'
                wait_until(lambda: prometheus.ask_number(expired) == BRIEF_SESSIONS, "brief sessions are gone")
                asyncio.run(fill_sessions(server.address, counts))
                wait_until(lambda: has_seen(prometheus, counts), "it has seen all of the load twice")
                yield prometheus, counts


def has_seen(prometheus: Prometheus, counts: Counts) -> bool:
    """Whether the load's end was scraped, and once more, so that what it brought forth has a rate."""
    calls = f'sum(unrolled_rpc_total{{method=~"{CLIENT_CALLS}.*"}} offset 2s)'
    return prometheus.ask_number(calls) == counts.calls.total()


def fill_in(expression: str) -> str:
    """Put in what Grafana does: the chosen replicas and a window."""
    return expression.replace("$instance", ".*").replace(WINDOW, "1m")


def by_label(values: list[Value], label: str) -> dict[str, float]:
    """Return what is not zero by the value of a label."""
    return {value.labels.get(label, ""): value.number for value in values if value.number}


@pytest.mark.parametrize("name", PANELS)
def test_every_curve_of_a_panel_has_numbers(name: str, busy: tuple[Prometheus, Counts]) -> None:
    prometheus, _ = busy
    for expression in PANELS[name]:
        values = prometheus.ask(fill_in(expression))
        assert values, expression
        assert all(map(math.isfinite, (value.number for value in values))), (expression, values)


@pytest.mark.parametrize(
    ("panel", "label", "counted"),
    [
        ("unrolled-overview/Tokens a second/timeseries", "phase", "tokens"),
        ("unrolled-overview/Streams that ended, a second/timeseries", "finish", "streams"),
        ("unrolled-overview/Calls a second/timeseries", "method", "calls"),
        ("unrolled-overview/Calls by how they ended, a second/timeseries", "code", "codes"),
        ("unrolled-overview/Calls refused, a second/timeseries", "reason", "refusals"),
        ("unrolled-engine/Sessions that left memory, a second/timeseries", "reason", "evictions"),
    ],
)
def test_a_panel_of_rates_counts_what_callers_counted(
    panel: str, label: str, counted: str, busy: tuple[Prometheus, Counts]
) -> None:
    """The expression without its rate is the count since the server began, in which nothing is estimated."""
    prometheus, counts = busy
    (expression,) = PANELS[panel]
    assert by_label(prometheus.ask(fill_in(RATE.sub(r"\1", expression))), label) == getattr(counts, counted)


def test_forks_and_snapshots_are_those_that_callers_made(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, counts = busy
    forks, snapshots = (
        prometheus.ask(fill_in(RATE.sub(r"\1", each)))
        for each in PANELS["unrolled-engine/Forks and snapshots a second/timeseries"]
    )
    assert [value.number for value in forks] == [counts.forks]
    assert by_label(snapshots, "operation") == counts.snapshots


def test_histograms_observed_what_callers_received(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, counts = busy
    streams = counts.streams.total()
    for histogram, number in {
        "time_to_first_token": streams,
        "queue_wait": streams,
        "stream_duration": streams,
        "inter_token_latency": counts.tokens["generated"] - streams,
    }.items():
        assert prometheus.ask_number(f"unrolled_{histogram}_seconds_count") == number, histogram


def test_gauges_are_what_is_left_after_the_load(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, counts = busy
    for query, number in {
        'unrolled_sessions{tier="packed"}': counts.sessions,
        'unrolled_sessions{tier="resident"}': 0,
        "unrolled_streams_active": 0,
        "unrolled_streams_waiting": 0,
        "unrolled_draining": 0,
        "up": 1,
    }.items():
        assert prometheus.ask_number(query) == number, query


async def watch_held_streams(server: ServerProcess, prometheus: Prometheus) -> None:
    """Compare the panels while a stream rests, as many run as there are rows, and others wait for one."""
    async with (
        AsyncClient(server.address, resume=None, options=SMALL_WINDOW) as idle,
        AsyncClient(server.address, resume=None) as client,
        asyncio.TaskGroup() as readers,
        idle.generate("a", max_tokens=ENDLESS) as unread,
    ):
        await anext(unread)
        for _ in range(USED_SESSIONS):
            info = await client.create_session()
            await client.open_session(info.id).generate("a", max_tokens=1).read()
        held = [readers.create_task(_read(client)) for _ in range(ROWS + WAITING)]
        rests_and_runs = 1 + ROWS
        expected = {
            "unrolled-overview/Streams active/stat": [rests_and_runs],
            "unrolled-overview/Streams waiting/stat": [WAITING],
            "unrolled-overview/Streams/timeseries": [rests_and_runs, WAITING],
            "unrolled-engine/Sessions by tier/timeseries": [{"resident": SLOTS, "packed": USED_SESSIONS - SLOTS}],
            "unrolled-engine/Slots/timeseries": [SLOTS, SLOTS],
        }

        def read_panels() -> dict[str, list[float | dict[str, float]]]:
            return {panel: [_read_curves(prometheus, each) for each in PANELS[panel]] for panel in expected}

        await asyncio.to_thread(wait_until, lambda: read_panels() == expected, "the panels show what is held")
        for each in held:
            each.cancel()


def _read_curves(prometheus: Prometheus, expression: str) -> float | dict[str, float]:
    """Return the value of a panel's curve, or the values by tier."""
    values = prometheus.ask(fill_in(expression))
    return by_label(values, "tier") if any(value.labels for value in values) else sum(each.number for each in values)


async def _read(client: AsyncClient) -> None:
    async with client.generate("a", max_tokens=ENDLESS) as stream:
        async for _ in stream:
            pass


def test_panels_show_streams_and_sessions_while_they_are_held(tmp_path: Path) -> None:
    with running_server(
        write_bundle(tmp_path / MODEL),
        engine_threads=1,
        max_rows=ROWS,
        max_streams=1 + ROWS + WAITING,
        slots=SLOTS,
        max_tokens=ENDLESS,
        max_waiting_tokens=WAITING * 2 * ENDLESS,
        turn_s=3600,
        stall_timeout_s=3600,
    ) as server:
        with running_prometheus(server.metrics_url.removeprefix("http://")) as prometheus:
            wait_until(lambda: prometheus.ask_number("up") == 1, "it scrapes")
            asyncio.run(watch_held_streams(server, prometheus))


@pytest.mark.parametrize("rule", [rule for rule in read_rules() if "record" in rule], ids=lambda rule: rule["record"])
def test_a_recorded_series_has_numbers(rule: dict[str, str], busy: tuple[Prometheus, Counts]) -> None:
    prometheus, _ = busy
    values = prometheus.ask(rule["record"])
    assert len(values) == 1
    assert 0 <= values[0].number <= 1


def test_a_recorded_share_is_that_of_what_callers_counted(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, counts = busy
    in_time = prometheus.ask_number('unrolled_time_to_first_token_seconds_bucket{le="0.5"}')
    assert in_time is not None
    late = 1 - in_time / counts.streams.total()
    assert prometheus.ask_number("job:unrolled_first_tokens_late:ratio_rate5m") == pytest.approx(late, abs=1e-6)


def test_every_rule_was_evaluated_and_every_alert_looks_at_something(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, _ = busy
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(read_rules())
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
    for rule in read_rules():
        recorded = re.findall(r"(?:job|instance):\w+:\w+", rule["expr"])
        for selector in [*find_selectors(rule["expr"]), *recorded]:
            assert prometheus.ask(selector), selector


def test_only_what_happened_is_alerted(busy: tuple[Prometheus, Counts]) -> None:
    prometheus, _ = busy
    alerts = prometheus.get("alerts")["alerts"]
    assert [each["labels"]["alertname"] for each in alerts if each["state"] == "firing"] == ["UnrolledSessionsEvicted"]


def count_series(server: ServerProcess) -> Counter[str]:
    """Return how many series each family has."""
    families = text_string_to_metric_families(server.read_page())
    return Counter({family.name: len(family.samples) for family in families})


async def make_sessions(target: str, number: int) -> None:
    """Make at least so many sessions, and generate in some of them."""
    async with AsyncClient(target, resume=None) as client:
        for i in range(number // AT_ONCE + 1):
            infos = await asyncio.gather(*(client.create_session() for _ in range(AT_ONCE)))
            if i % ROUNDS_A_TEXT == 0:
                await asyncio.gather(
                    *(client.open_session(info.id).generate("a", max_tokens=1).read() for info in infos)
                )


def call_strange_methods(target: str, number: int) -> None:
    with grpc.insecure_channel(target) as channel:
        for _ in range(number):
            for name in (secrets.token_hex(4), f"unrolled.v1.GenerationService/{secrets.token_hex(4)}"):
                call: Any = channel.unary_unary(f"/{name}")
                with pytest.raises(grpc.RpcError) as failure:
                    call(b"", timeout=30)
                assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_neither_sessions_nor_strange_methods_make_series(tmp_path: Path) -> None:
    with running_server(write_bundle(tmp_path / MODEL), max_sessions=2 * MANY_SESSIONS) as server:
        asyncio.run(make_sessions(server.address, 1))
        before = count_series(server)
        asyncio.run(make_sessions(server.address, MANY_SESSIONS))
        call_strange_methods(server.address, STRANGE_METHODS)
        assert server.read_metric("unrolled_sessions") > MANY_SESSIONS
        assert server.read_metric("unrolled_streams_total", finish="length") > MANY_SESSIONS / ROUNDS_A_TEXT
        assert count_series(server) == before

"""What the dashboards show. After a change: ``make dashboards``."""

from deploy.grafana.promql import mean, quantile, rate, select, total
from deploy.grafana.render import Dashboard, Panel, Query, Row

FIRST = "unrolled_time_to_first_token_seconds"
GAP = "unrolled_inter_token_latency_seconds"
SLICE = "unrolled_slice_duration_seconds"
LAG = "unrolled_event_loop_lag_seconds"
OWN = 'job="unrolled"'  # metrics that every Python process has


def quantiles(histogram: str, name: str = "", shares: tuple[float, ...] = (0.5, 0.99)) -> list[Query]:
    """Return the queries of some quantiles of a histogram."""
    return [Query(quantile(share, histogram), f"{name} p{share * 100:g}".strip()) for share in shares]


OVERVIEW = Dashboard(
    "unrolled-overview",
    "Unrolled / Overview",
    (
        Row(
            "Now",
            (
                Panel("Replicas", "none", [Query(total("up", matchers=OWN))], kind="stat", width=4),
                Panel("Streams active", "none", [Query(total("unrolled_streams_active"))], kind="stat", width=4),
                Panel("Streams waiting", "none", [Query(total("unrolled_streams_waiting"))], kind="stat", width=4),
                Panel(
                    "Tokens a second",
                    "short",
                    [Query(rate("unrolled_tokens_total", matchers='phase="generated"'))],
                    kind="stat",
                    width=4,
                ),
                Panel("First token, p99", "s", [Query(quantile(0.99, FIRST))], kind="stat", width=4),
                Panel(
                    "Alerts",
                    "none",
                    [Query('count(ALERTS{alertname=~"Unrolled.*", alertstate="firing"}) or vector(0)')],
                    kind="stat",
                    width=4,
                ),
            ),
        ),
        Row(
            "Throughput",
            (
                Panel(
                    "Tokens a second",
                    "short",
                    [Query(rate("unrolled_tokens_total", by="phase"), "{{phase}}")],
                    "Prompts are fed and texts generated in the same slices.",
                    is_stacked=True,
                ),
                Panel(
                    "Streams that ended, a second",
                    "short",
                    [Query(rate("unrolled_streams_total", by="finish"), "{{finish}}")],
                    is_stacked=True,
                ),
                Panel("Calls a second", "reqps", [Query(rate("unrolled_rpc_total", by="method"), "{{method}}")]),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "Time to first token",
                    "s",
                    quantiles(FIRST, shares=(0.5, 0.9, 0.99)),
                    "From a call's arrival. The objective: 99 of 100 within 0.5 s.",
                ),
                Panel(
                    "Inter-token latency",
                    "s",
                    quantiles(GAP, shares=(0.5, 0.9, 0.99)),
                    "Time per token since a stream's tokens before. The objective: 99 of 100 within 50 ms.",
                ),
                Panel(
                    "Wait for a row, and whole streams",
                    "s",
                    [
                        *quantiles("unrolled_queue_wait_seconds", "wait"),
                        *quantiles("unrolled_stream_duration_seconds", "stream"),
                    ],
                ),
            ),
        ),
        Row(
            "Streams and errors",
            (
                Panel(
                    "Streams",
                    "short",
                    [
                        Query(total("unrolled_streams_active"), "active"),
                        Query(total("unrolled_streams_waiting"), "waiting"),
                    ],
                    "Active ones have a row, or wait for their readers; waiting ones want a row.",
                ),
                Panel(
                    "Calls refused, a second",
                    "short",
                    [Query(f"{rate('unrolled_rejected_total', by='reason')} > 0", "{{reason}}")],
                    is_stacked=True,
                ),
                Panel(
                    "Calls by how they ended, a second",
                    "short",
                    [Query(rate("unrolled_rpc_total", by="code"), "{{code}}")],
                ),
            ),
        ),
        Row(
            "Objectives and saturation",
            (
                Panel(
                    "Late, of all",
                    "percentunit",
                    [
                        Query("job:unrolled_first_tokens_late:ratio_rate5m", "first tokens, 5 min"),
                        Query("job:unrolled_first_tokens_late:ratio_rate1h", "first tokens, 1 h"),
                        Query("job:unrolled_tokens_late:ratio_rate5m", "tokens, 5 min"),
                        Query("job:unrolled_tokens_late:ratio_rate1h", "tokens, 1 h"),
                    ],
                    "Of all replicas. The objectives allow 1 %.",
                ),
                Panel(
                    "How busy",
                    "percentunit",
                    [
                        Query(rate(f"{SLICE}_sum", by="instance"), "engines {{instance}}"),
                        Query(rate("process_cpu_seconds_total", by="instance", matchers=OWN), "CPU {{instance}}"),
                    ],
                    "Engine threads in slices, and cores in use: 100 % is one engine, or one core.",
                ),
                Panel(
                    "How full",
                    "percentunit",
                    [
                        Query(f"{total('unrolled_slots_in_use')} / {total('unrolled_slots')}", "slots"),
                        Query(
                            f"{total('process_open_fds', matchers=OWN)} / {total('process_max_fds', matchers=OWN)}",
                            "files",
                        ),
                        Query("job:unrolled_refused_for_room:ratio_rate5m", "refused for room"),
                    ],
                ),
            ),
        ),
    ),
)

ENGINE = Dashboard(
    "unrolled-engine",
    "Unrolled / Engine",
    (
        Row(
            "Slices",
            (
                Panel(
                    "Time of a slice by stage",
                    "s",
                    [Query(mean(SLICE, by="stage"), "{{stage}}")],
                    "Means. What is not run is overhead.",
                    is_stacked=True,
                    width=6,
                ),
                Panel(
                    "Slices a second",
                    "short",
                    [Query(rate(f"{SLICE}_count", by="instance", matchers='stage="run"'), "{{instance}}")],
                    width=6,
                ),
                Panel(
                    "Rows a slice",
                    "short",
                    [Query(mean("unrolled_slice_rows"), "mean"), *quantiles("unrolled_slice_rows")],
                    width=6,
                ),
                Panel(
                    "Steps a slice (K)",
                    "short",
                    [Query(mean("unrolled_slice_steps"), "mean"), *quantiles("unrolled_slice_steps")],
                    width=6,
                ),
            ),
        ),
        Row(
            "Sessions",
            (
                Panel(
                    "Sessions by tier",
                    "short",
                    [Query(total("unrolled_sessions", by="tier"), "{{tier}}")],
                    is_stacked=True,
                    width=6,
                ),
                Panel(
                    "Slots",
                    "short",
                    [Query(total("unrolled_slots_in_use"), "in use"), Query(total("unrolled_slots"), "all")],
                    "State memory. Sessions that have no slot are packed.",
                    width=6,
                ),
                Panel(
                    "Sessions that left memory, a second",
                    "short",
                    [Query(rate("unrolled_session_evictions_total", by="reason"), "{{reason}}")],
                    "Given up to make room means that live sessions were lost.",
                    width=6,
                ),
                Panel(
                    "Forks and snapshots a second",
                    "short",
                    [
                        Query(rate("unrolled_session_forks_total"), "fork"),
                        Query(rate("unrolled_snapshot_operations_total", by="operation"), "{{operation}}"),
                    ],
                    width=6,
                ),
            ),
        ),
        Row(
            "Store and process",
            (
                Panel(
                    "Store, time of a call, p99",
                    "s",
                    [Query(quantile(0.99, "unrolled_store_operation_seconds", by="operation"), "{{operation}}")],
                    width=6,
                ),
                Panel(
                    "Store, calls without an answer, a second",
                    "short",
                    [Query(rate("unrolled_store_failures_total", by="operation"), "{{operation}}")],
                    width=6,
                ),
                Panel(
                    "Event-loop lag",
                    "s",
                    quantiles(LAG, shares=(0.5, 0.9, 0.99)),
                    "How late the loop does what is due. It carries every message.",
                    width=6,
                ),
                Panel(
                    "Memory",
                    "bytes",
                    [
                        Query(total("process_resident_memory_bytes", matchers=OWN), "process"),
                        Query(total("unrolled_state_bytes"), "states"),
                    ],
                    width=6,
                ),
            ),
        ),
        Row(
            "What is served",
            (
                Panel("Bundles", "none", [Query(select("unrolled_model_info"))], kind="table", width=12),
                Panel("Builds", "none", [Query(select("unrolled_build_info"))], kind="table", width=6),
                Panel(
                    "Draining, bundles not taken, what was not continued",
                    "none",
                    [
                        Query(total("unrolled_draining"), "draining"),
                        Query(total("unrolled_bundle_load_failures_total", by="reason"), "not taken: {{reason}}"),
                        Query(total("unrolled_mismatches_total", by="differs"), "not continued: {{differs}}"),
                    ],
                    width=6,
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, ENGINE)

# What the server exports and no chart looks at, and why.
NOT_CHARTED = {
    "process_start_time_seconds": "says when a process began; a restart shows as a gap",
    "process_virtual_memory_bytes": "reserved, not used: state memory is reserved at once and touched as it fills",
    "python_gc_collections": "collections are rare by design; those that matter show as event-loop lag",
    "python_gc_objects_collected": "as above",
    "python_gc_objects_uncollectable": "as above",
    "python_info": "comes with the image",
}

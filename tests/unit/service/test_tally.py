from prometheus_client import CollectorRegistry, generate_latest

from unrolled_service.tally import Tally


def test_it_reads_like_a_histogram() -> None:
    registry = CollectorRegistry()
    tally = Tally("gap_seconds", "Gaps.", [0.1, 0.5])
    registry.register(tally)
    tally.observe(0.1, 3)
    tally.observe(0.3)
    tally.observe(7.0, 2)

    assert generate_latest(registry).decode().splitlines() == [
        "# HELP gap_seconds Gaps.",
        "# TYPE gap_seconds histogram",
        'gap_seconds_bucket{le="0.1"} 3.0',
        'gap_seconds_bucket{le="0.5"} 4.0',
        'gap_seconds_bucket{le="+Inf"} 6.0',
        "gap_seconds_count 6.0",
        "gap_seconds_sum 14.6",
    ]

"""Every alert fires where it should and stays quiet where it should not, by promtool's clock and engine."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import demand
from tests.support.prometheus import RULES, read_rules

pytestmark = pytest.mark.program("promtool")
FILES = sorted(RULES.glob("*.yml"))
ALERTS = {(rule["alert"], rule["labels"]["severity"]): rule for rule in read_rules() if "alert" in rule}
PAGE, TICKET = frozenset({"page"}), frozenset({"ticket"})
BOTH, QUIET = PAGE | TICKET, frozenset[str]()
JOB = {"job": "unrolled"}
A = JOB | {"instance": "a:9464"}


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured each minute, and which alerts of a name fire at a moment.

    Attributes:
        alert: its name.
        what: happens, in a few words.
        series: values by series, in promtool's notation; all of the server ``a``.
        at: minutes from the start.
        fires: the severities.
        labels: those that a firing alert has beside its name and severity.
    """

    alert: str
    what: str
    series: Mapping[str, str]
    at: int
    fires: frozenset[str]
    labels: Mapping[str, str]


def late(alert: str, metric: str, bound: str) -> list[Case]:
    """Return the cases of an objective; 100 are observed a minute."""

    def case(what: str, in_time: str, at: int, fires: frozenset[str], count: str = "0+100x400") -> Case:
        series = {f"unrolled_{metric}_seconds_bucket{{le='{bound}'}}": in_time}
        return Case(alert, what, series | {f"unrolled_{metric}_seconds_count": count}, at, fires, JOB)

    return [
        case("half are late", "0+50x400", 70, BOTH),
        case("1 of 10 is late", "0+90x400", 70, TICKET),
        case("1 of 20 is late", "0+95x400", 390, QUIET),
        case("many were late, some minutes ago; 1 of 20 is", "0+50x60 3000+95x340", 67, TICKET),
        case("many were late, an hour ago", "0+50x60 3000+100x340", 100, QUIET),
        case("half are late, for some minutes", "0+100x362 36200+50x40", 375, QUIET),
        case("1 of 10 was late for hours, 1 of 25 is", "0+90x300 27000+96x100", 340, QUIET),
        case("nothing happens", "5x400", 70, QUIET, count="5x400"),
    ]


CASES = [
    Case("UnrolledAbsent", "nothing is scraped", {"up{job='other'}": "1x20"}, 6, PAGE, JOB),
    Case("UnrolledAbsent", "a server is down", {"up": "0x20"}, 6, QUIET, JOB),
    Case("UnrolledTargetDown", "it went away", {"up": "1x3 0x20"}, 6, PAGE, A),
    Case("UnrolledTargetDown", "one scrape failed", {"up": "1x3 0 1x20"}, 4, QUIET, A),
    Case("UnrolledTargetDown", "it is there", {"up": "1x20"}, 10, QUIET, A),
    *(
        Case(
            "UnrolledServersMissing",
            what,
            {f"up{{instance='{name}:9464'}}": values for name, values in zip("abc", servers, strict=False)},
            at,
            fires,
            JOB,
        )
        for what, servers, at, fires in (
            ("one of three leaves", ("1x40", "1x40", "1x20 stale"), 25, PAGE),
            ("all leave", ("1x20 stale", "1x20 stale", "1x20 stale"), 25, PAGE),
            ("the only one leaves", ("1x20 stale",), 25, PAGE),
            ("one of three does not answer", ("1x40", "1x40", "1x20 0x20"), 25, PAGE),
            ("one left, 50 minutes ago", ("1x90", "1x20 stale"), 70, PAGE),
            ("one was taken away, more than an hour ago", ("1x120", "1x20 stale"), 90, QUIET),
            ("one is started again", ("1x40", "1x20 stale _ 1x20"), 24, QUIET),
            ("one is added", ("1x40", "_x20 1x20"), 35, QUIET),
            ("one more is there while another is replaced", ("1x40", "_x15 1x25", "1x20 stale"), 25, QUIET),
            ("all stay", ("1x40", "1x40", "1x40"), 35, QUIET),
        )
    ),
    *late("UnrolledFirstTokensLate", "time_to_first_token", "0.5"),
    *late("UnrolledTokensLate", "inter_token_latency", "0.05"),
    Case("UnrolledQueueGrows", "it grows", {"unrolled_streams_waiting": "1+1x30"}, 20, TICKET, A),
    Case("UnrolledQueueGrows", "it is long", {"unrolled_streams_waiting": "50x30"}, 20, QUIET, A),
    Case("UnrolledQueueGrows", "it empties", {"unrolled_streams_waiting": "0+1x4 0+2x4 0+3x4 0+4x4"}, 18, QUIET, A),
    *(
        Case(
            "UnrolledRefusesForRoom",
            what,
            {f"unrolled_rejected_total{{reason='{reason}'}}": f"0+{refused}x30"}
            | {"unrolled_rpc_total{method='/unrolled.v1.GenerationService/Generate'}": "0+200x30"},
            20,
            fires,
            JOB,
        )
        for what, reason, refused, fires in (
            ("1 of 20, for streams", "QUEUE_FULL", 10, PAGE),
            ("1 of 20, for sessions", "SLOTS_EXHAUSTED", 10, PAGE),
            ("1 of 20, for deadlines", "OVERLOADED", 10, PAGE),
            ("1 of 200", "QUEUE_FULL", 1, QUIET),
            ("half, for what callers did", "INVALID_FIELD", 100, QUIET),
        )
    ),
    *(
        Case(
            "UnrolledSessionsEvicted",
            what,
            {f"unrolled_session_evictions_total{{reason='{reason}'}}": "0x5 3x40"},
            at,
            fires,
            A | {"reason": reason},
        )
        for what, reason, at, fires in (
            ("a moment ago", "room", 10, TICKET),
            ("half an hour ago", "room", 40, QUIET),
            ("they had expired", "expired", 10, QUIET),
        )
    ),
    *(
        Case(
            "UnrolledStoreDown",
            what,
            {"unrolled_store_failures_total{operation='ping'}": failures}
            | {"unrolled_store_operation_seconds_count{operation='ping'}": calls},
            at,
            fires,
            A,
        )
        for what, failures, calls, at, fires in (
            ("no ping is answered", "0x5 0+60x10", "0+60x15", 10, PAGE),
            ("1 of 10 is not", "0+6x15", "0+60x15", 10, QUIET),
            ("it is back", "0+60x5 300x10", "0+60x15", 10, QUIET),
            ("there is none", "0x15", "0x15", 10, QUIET),
        )
    ),
    Case("UnrolledDrainStuck", "it does not end", {"unrolled_draining": "0x5 1x10"}, 9, PAGE, A),
    Case("UnrolledDrainStuck", "it has its grace time", {"unrolled_draining": "0x5 1x10"}, 7, QUIET, A),
    Case("UnrolledDrainStuck", "it ends", {"unrolled_draining": "0x5 1 stale"}, 9, QUIET, A),
    *(
        Case(
            "UnrolledGoldenMismatch",
            what,
            {f"unrolled_bundle_load_failures_total{{reason='{reason}'}}": values},
            5,
            fires,
            A | {"reason": reason},
        )
        for what, reason, values, fires in (
            ("at the start", "golden", "1x10", PAGE),
            ("later", "golden", "0x3 1x10", PAGE),
            ("all repeat it", "golden", "0x10", QUIET),
            ("a damaged one", "invalid", "1x10", QUIET),
        )
    ),
    *(
        Case(
            "UnrolledFormsDiffer",
            what,
            {"unrolled_model_info{model='m', sha256='1', precision='int8'}": "1x30"}
            | {f"unrolled_model_info{{model='m', {other}, instance='b:9464'}}": values},
            20,
            fires,
            JOB | {"model": "m", "sha256": "1"},
        )
        for what, other, values, fires in (
            ("one has another form", "sha256='1', precision='fp32'", "1x30", TICKET),
            ("it had, for a moment", "sha256='1', precision='fp32'", "1x10 stale", QUIET),
            ("both have the same", "sha256='1', precision='int8'", "1x30", QUIET),
            ("one rounds differently", "sha256='1', precision='int8', numerics='5'", "1x30", TICKET),
            ("one has another bundle", "sha256='2', precision='fp32'", "1x30", QUIET),
        )
    ),
    *(
        Case(
            "UnrolledDefects",
            what,
            {f"unrolled_rejected_total{{reason='{reason}'}}": "0x5 1x40"},
            at,
            fires,
            A | {"reason": reason},
        )
        for what, reason, at, fires in (
            ("a moment ago", "INTERNAL", 10, TICKET),
            ("half an hour ago", "INTERNAL", 40, QUIET),
            ("a caller's mistake", "INVALID_FIELD", 10, QUIET),
        )
    ),
]


def name_series(series: str) -> str:
    """Put the job, and the server where none is named, into a series' name."""
    name, _, labels = series.partition("{")
    labels = labels.removesuffix("}").replace("'", '"')
    given = [each.partition("=")[0] for each in labels.split(", ") if each]
    added = [f'{key}="{value}"' for key, value in A.items() if key not in given]
    return f"{name}{{{', '.join([*filter(None, [labels]), *added])}}}"


def write_case(case: Case) -> dict[str, Any]:
    """Return a case as promtool reads it."""
    expected = [
        {
            "exp_labels": {"severity": severity, **case.labels},
            "exp_annotations": ALERTS[case.alert, severity]["annotations"],
        }
        for severity in sorted(case.fires)
    ]
    return {
        "interval": "1m",
        "name": f"{case.alert}: {case.what}",
        "input_series": [{"series": name_series(name), "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": f"{case.at}m", "alertname": case.alert, "exp_alerts": expected}],
    }


def run_promtool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([demand("promtool"), *map(str, words)], capture_output=True, text=True, check=False)


def test_the_rules_are_clean() -> None:
    result = run_promtool("check", "rules", "--lint=all", "--lint-fatal", *FILES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_fire_and_stay_quiet_where_they_should(tmp_path: Path) -> None:
    tests = {"rule_files": list(map(str, FILES)), "evaluation_interval": "1m", "tests": list(map(write_case, CASES))}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    result = run_promtool("test", "rules", tmp_path / "tests.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("alert", "severity"), ALERTS)
def test_every_alert_has_cases_of_both_kinds(alert: str, severity: str) -> None:
    of_alert = [case for case in CASES if case.alert == alert]
    assert {severity in case.fires for case in of_alert} == {True, False}


@pytest.mark.parametrize("case", [case for case in CASES if case.what in {"half are late", "it ends", "it is back"}])
def test_a_wrong_expectation_is_found(case: Case, tmp_path: Path) -> None:
    test = write_case(case)
    expected = test["alert_rule_test"][0]["exp_alerts"]
    wrong = {"exp_labels": {"severity": "page", **case.labels}}
    test["alert_rule_test"][0]["exp_alerts"] = [] if expected else [wrong]
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": list(map(str, FILES)), "evaluation_interval": "1m", "tests": [test]})
    )
    assert run_promtool("test", "rules", tmp_path / "tests.yml").returncode != 0

"""A real Prometheus in a process of its own, asked through its HTTP API."""

import json
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.cluster.ports import free_addresses
from tests.support.programs import demand

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Value:
    """One series of an answer, as it is at the moment that was asked about."""

    labels: dict[str, str]
    number: float


class Prometheus:
    """A running Prometheus.

    Args:
        url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> list[Value]:
        """Return what an expression is now.

        Raises:
            OSError: no answer, also where the expression is none.
        """
        result = self.get("query", query=query)["result"]
        return [Value(each["metric"], float(each["value"][1])) for each in result]

    def ask_number(self, query: str) -> float | None:
        """Return the value of an expression of one series; None where there is no series, or no answer yet."""
        try:
            values = self.ask(query)
        except OSError:
            return None
        return values[0].number if values else None

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data that a page of the API answers with."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=STOP_LIMIT_S) as answer:
            return json.load(answer)["data"]


@contextmanager
def running_prometheus(target: str, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Scrape a target every second until the block ends; the process is gone afterwards, whatever happened.

    Args:
        target: ``host:port`` of the metrics, scraped as the job ``unrolled``.
        rules: files of rules, evaluated every second.
    """
    with tempfile.TemporaryDirectory(prefix="unrolled-prometheus-") as name:
        folder, address = Path(name), next(free_addresses())
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_configure(target, rules)))
        command = [
            str(demand("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(timeout=STOP_LIMIT_S)


def read_rules() -> list[dict[str, Any]]:
    """Return every rule that is shipped, recording and alerting."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def find_selectors(expression: str) -> list[str]:
    """Return the selectors of the server's metrics in an expression, without their windows."""
    return re.findall(r"(?<![\w:])(?:unrolled|process|python)_\w+(?:{[^}]*})?", expression)


def _configure(target: str, rules: Sequence[Path]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "unrolled", "static_configs": [{"targets": [target]}]}],
    }

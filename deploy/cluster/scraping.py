"""Prometheus' configuration for a cluster on this machine: ``deploy/prometheus`` with other targets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "prometheus"


def configure(targets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the configuration with these targets, ``host:port`` each, by the name of their job."""
    configuration: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["rule_files"] = [str(FOLDER / pattern) for pattern in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs")
        job["static_configs"] = [{"targets": [*targets[job["job_name"]]]}]
    return configuration

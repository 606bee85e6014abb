"""Envoy's configuration as it is deployed, and what its access log says."""

import json
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"


def read_envoy() -> dict[str, Any]:
    """Return the configuration."""
    configuration: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return configuration


def read_listeners() -> list[dict[str, Any]]:
    """Return its listeners."""
    listeners: list[dict[str, Any]] = read_envoy()["static_resources"]["listeners"]
    return listeners


def read_calls(log: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of an access log by the id of the request; those that are being written are left out."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return {each["request_id"]: each for each in map(json.loads, lines)}

"""Envoy's configuration for a cluster on this machine: ``deploy/envoy/envoy.yaml`` with other addresses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[1] / "envoy" / "envoy.yaml"


def configure(front: str, *, operators: str, admin: str, replicas: Sequence[str]) -> dict[str, Any]:
    """Return the configuration with these addresses, each ``host:port``.

    Args:
        front: where callers are listened for.
        operators: where readiness and metrics are asked.
        admin: of the admin interface.
        replicas: of the servers, as Envoy dials them.
    """
    configuration: dict[str, Any] = yaml.safe_load(FILE.read_text())
    configuration["admin"]["address"] = _address(admin)
    listeners = _by_name(configuration["static_resources"]["listeners"])
    listeners["front"]["address"] = _address(front)
    listeners["operators"]["address"] = _address(operators)
    clusters = _by_name(configuration["static_resources"]["clusters"])
    for name, addresses in (("replicas", replicas), ("admin", [admin])):
        endpoints = [{"endpoint": {"address": _address(each)}} for each in addresses]
        clusters[name]["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    del clusters["replicas"]["cluster_type"]  # addresses are not looked up
    return configuration


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}

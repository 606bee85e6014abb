"""Ports for programs that are started, stopped and started again at the same address."""

import random
import socket
from collections.abc import Iterator

# Below those that Linux gives to outgoing connections: nobody takes the port of a program that is being restarted.
PORTS = range(20_000, 32_000)
LOOPBACK = "127.0.0.1"


def free_addresses() -> Iterator[str]:
    """Give loopback addresses that nobody listens on, each once."""
    for port in random.sample(PORTS, len(PORTS)):
        if _is_free(port):
            yield f"{LOOPBACK}:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True

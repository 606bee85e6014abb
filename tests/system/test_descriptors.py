"""A server makes room for its connections, or says that there is none."""

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.server import running_server

FREE = "127.0.0.1:0"
SHOW = (
    "import logging, resource; from unrolled_service.descriptors import make_room;"
    "logging.basicConfig(format='%(message)s'); make_room({connections});"
    "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
)


def run_limited(soft: int, hard: int, connections: int) -> tuple[tuple[int, int], str]:
    """Make room in a process with these limits; return its limits afterwards, and what it logged."""
    command = shlex.join([sys.executable, "-c", SHOW.format(connections=connections)])
    shell = f"ulimit -Sn {soft} && ulimit -Hn {hard} && {command}"
    done = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True, timeout=60)
    soft, hard = map(int, done.stdout.strip(" ()\n").split(","))
    return (soft, hard), done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "then", "is_warned"),
    [
        (64, 900, 100, 612, False),
        (64, 612, 100, 612, False),
        (64, 300, 100, 300, True),
        (300, 300, 100, 300, True),
        (800, 900, 100, 800, False),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, connections: int, then: int, is_warned: bool
) -> None:
    limits, log = run_limited(soft, hard, connections)

    assert limits == (then, hard)
    assert ("too few files" in log) is is_warned


def test_a_server_has_room_for_its_connections(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))  # which the server inherits
    try:
        with running_server(write_bundle(tmp_path / "alphabet"), max_connections=700, admin_listen=FREE) as server:
            given, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            assert given == (1912 if hard == resource.RLIM_INFINITY else min(1912, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""A real server in a process of its own, and what an operator can see of it."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

READY = re.compile(r"^unrolled: serving (?P<names>.+) on (?P<address>\S+), metrics on (?P<metrics>\S+)$", re.M)
ROOT = Path(__file__).resolve().parents[2]
ADMIN = re.compile(r"^unrolled: admin services on (?P<address>\S+)$", re.M)
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that said it is ready.

    Attributes:
        address: ``host:port`` of the gRPC services.
        metrics_url: address of the operators' pages, without a path.
        process: the running process.
        log: what it writes to stderr.
        admin_address: ``host:port`` of the admin services; empty where there are none.
    """

    address: str
    metrics_url: str
    process: subprocess.Popen[bytes]
    log: Path
    admin_address: str = ""

    def read_page(self, path: str = "/metrics") -> str:
        """Return an operators' page as text."""
        with urllib.request.urlopen(self.metrics_url + path, timeout=START_LIMIT_S) as answer:
            return str(answer.read().decode())

    def read_metric(self, sample: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; it must have at least one."""
        found = [
            each.value
            for family in text_string_to_metric_families(self.read_page())
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        ]
        if not found:
            raise LookupError(f"/metrics has no {sample} with {labels}")
        return sum(found)


@contextmanager
def running_server(
    *bundles: Path, module: str = "unrolled_service", **settings: float | str
) -> Iterator[ServerProcess]:
    """Serve bundles on free ports until the block ends; the process is gone afterwards, whatever happened.

    Args:
        bundles: folders to serve; none serves the shipped one.
        module: what to run in place of the service, by its dotted name.
        settings: the server's settings by name.
    """
    chosen = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", **settings}
    command = [sys.executable, "-m", module]
    for bundle in bundles:
        command += ["--bundle", str(bundle.resolve())]
    for name, value in chosen.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNROLLED_")}
    with tempfile.TemporaryDirectory(prefix="unrolled-server-") as folder:
        output, log = Path(folder, "stdout"), Path(folder, "stderr")
        with output.open("wb") as stdout, log.open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment
            )
        try:
            ready = _wait_until_ready(process, output, log)
            admin = ADMIN.search(output.read_text())
            yield ServerProcess(ready["address"], ready["metrics"], process, log, admin["address"] if admin else "")
        finally:
            _end(process)


def wait_until(question: Callable[[], bool], what: str, *, limit_s: float = 30.0) -> None:
    """Ask until the answer is yes.

    Raises:
        TimeoutError: it was not within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not question():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(_POLL_S)


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path, log: Path) -> re.Match[str]:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        has_ended = process.poll() is not None
        if ready := READY.search(output.read_text()):
            return ready
        if has_ended:
            raise RuntimeError(f"the server ended with status {process.returncode}:\n{log.read_text()}")
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the server was not ready within {START_LIMIT_S:g} s:\n{log.read_text()}")
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: a server that still drains gets the signal that ends its grace time too."""
    for end in (process.terminate, process.terminate, process.kill):
        if process.poll() is not None:
            return
        end()
        try:
            process.wait(STOP_LIMIT_S if end == process.kill else STOP_LIMIT_S / 6)
        except subprocess.TimeoutExpired:
            continue

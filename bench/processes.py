"""The processes beside this one: load generators and the null server. Each is gone when its call or block ends."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from bench.journal import Report
from bench.load import Plan

_LIMIT_S = 150.0


class LoadFailed(Exception):
    """The load generator saw something wrong."""


def run_load(plan: Plan) -> Report:
    """Run the load generator.

    Raises:
        LoadFailed: it failed, or a generation did.
    """
    report = Report(**run_module("bench.load", json.dumps(asdict(plan))))
    if report.faults:
        raise LoadFailed("; ".join(report.faults))
    return report


def run_module(module: str, *words: str) -> Any:
    """Run a module that prints JSON, and return that.

    Raises:
        LoadFailed: it failed.
    """
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise LoadFailed(f"{module} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


@contextmanager
def running_null_server() -> Iterator[str]:
    """Run the null server until the block ends; its address."""
    command = [sys.executable, "-m", "bench.null_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

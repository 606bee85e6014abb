"""A server of one's own for as long as a measurement takes: a process that is ended, whatever happens."""

import os
import re
import subprocess  # for one command without a shell  # nosec B404
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

READY = re.compile(r"^unrolled: serving .+ on (\S+), metrics on ")
STOP_LIMIT_S = 30.0


class NoServer(RuntimeError):
    """The server did not start."""


@contextmanager
def serving(bundles: Sequence[Path], settings: Mapping[str, str]) -> Iterator[str]:
    """Serve bundles on a free port of this machine for a `with` block, and yield the address.

    Args:
        bundles: folders to serve.
        settings: flags of `unrolled serve` without their dashes, and their values.

    Raises:
        NoServer: it did not start; what it last said.
    """
    chosen = {"listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0", "drain-grace-s": "0", **settings}
    command = [sys.executable, "-m", "unrolled_service"]
    for bundle in bundles:
        command += ["--bundle", str(bundle)]
    for name, value in chosen.items():
        command += [f"--{name}", value]
    # What an operator set for another server is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNROLLED_")}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603  # its own server, flags as a list  # nosec B603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        try:
            yield _address_of(process, log)
        finally:
            _end(process)


def _address_of(process: "subprocess.Popen[str]", log: IO[str]) -> str:
    """Wait for the line that says where it listens."""
    if process.stdout is not None:
        for line in process.stdout:
            if match := READY.match(line):
                return match[1]
    process.wait()
    log.seek(0)
    said = [line.strip() for line in log if line.strip()]
    raise NoServer(f"the server did not start: {said[-1] if said else f'it ended with {process.returncode}'}")


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()

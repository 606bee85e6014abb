"""A server with a defect: once it serves, a slice that feeds a z from a prompt breaks off with a secret."""

from typing import Any

from tests.support.alphabet import LETTERS
from unrolled_service.cli import serve
from unrolled_service.graphs.program import Batch, Program
from unrolled_service.graphs.state import Floats
from unrolled_service.server import Server

CANARY = "canary-/etc/passwd-hunter2"
POISON = "z"


def break_program() -> None:
    """Put the defect in, after the bundles have proved themselves."""
    run, start = Program.run, Server.start

    def run_or_break(self: Program, batch: Batch, state: Floats) -> Any:
        if (batch.forced == LETTERS.index(POISON)).any():
            raise RuntimeError(CANARY)
        return run(self, batch, state)

    async def start_broken(self: Server) -> None:
        setattr(Program, "run", run_or_break)  # noqa: B010
        await start(self)

    setattr(Server, "start", start_broken)  # noqa: B010


if __name__ == "__main__":
    break_program()
    serve()

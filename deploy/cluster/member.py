"""One program of a cluster: a process that is started, signalled, stopped, and started again at its address."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_POLL_S = 0.05
_LAST_S = 5.0
_TAIL_BYTES = 2000


class MemberFailed(Exception):
    """A program ended, or was not ready in time; the message has the end of its log."""


class Member:
    """A program and the process that runs it.

    Args:
        name: what it is called, for instance ``replica-1``.
        address: ``host:port`` at which others find it.
        command: its command line, the same at every start.
        log: file that its output goes to, behind what is there.
        is_ready: asks it, without raising, whether it does its work.
    """

    def __init__(
        self, name: str, address: str, command: Sequence[str], log: Path, is_ready: Callable[[], bool]
    ) -> None:
        self.name = name
        self.address = address
        self.log = log
        self._command = [*command]
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether its process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the id of the process that was started last; 0 before the first."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the program; ``wait_ready`` says when it serves.

        Raises:
            RuntimeError: it runs already.
        """
        if self.is_running:
            raise RuntimeError(f"{self.name} runs already")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UNROLLED_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # ^C in a terminal is for whoever started it
            )

    def wait_ready(self, limit_s: float) -> None:
        """Wait until the program does its work.

        Raises:
            MemberFailed: it ended, or did not within so many seconds.
        """
        self.wait_until(self._is_ready, limit_s, "is not ready")

    def wait_until(self, question: Callable[[], bool], limit_s: float, trouble: str) -> None:
        """Ask until the answer is yes.

        Args:
            question: what is asked, without raising.
            limit_s: for how many seconds.
            trouble: what is wrong with the program while it is not.

        Raises:
            MemberFailed: it ended, or the answer was never yes.
        """
        deadline = time.monotonic() + limit_s
        while not question():
            if not self.is_running or time.monotonic() >= deadline:
                what = f"{trouble} after {limit_s:g} s" if self.is_running else "ended"
                raise MemberFailed(f"{self.name} {what}:\n{self.read_tail()}")
            time.sleep(_POLL_S)

    def signal(self, signum: int) -> None:
        """Send a signal to the process, if it is there."""
        if self._process is not None:
            self._process.send_signal(signum)

    def stop(self, grace_s: float = 30.0) -> int:
        """Ask the program to end, insist after the grace time, and return its exit status; 0 where it never ran."""
        if self._process is None:
            return 0
        for signum, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGTERM, _LAST_S), (signal.SIGKILL, _LAST_S)):
            self.signal(signum)
            self.signal(signal.SIGCONT)  # a frozen process hears of it when it goes on
            try:
                return self._process.wait(limit_s)
            except subprocess.TimeoutExpired:
                continue
        raise MemberFailed(f"{self.name} cannot be ended")

    def read_tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""

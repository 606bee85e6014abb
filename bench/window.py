"""The stretch of time in which a load is measured."""

import psutil

from bench.journal import Journal


class Window:
    """Opens and closes a journal at set times, and measures the CPU in between.

    Args:
        journal: what to open.
        opens_at, closes_at: ``perf_counter`` times.
        server_pid: whose CPU to measure beside this process's; 0 for nobody's.
    """

    def __init__(self, journal: Journal, opens_at: float, closes_at: float, server_pid: int) -> None:
        self._journal = journal
        self._times = [opens_at, closes_at]
        self._processes = [psutil.Process(), psutil.Process(server_pid) if server_pid else None]
        self._marks: list[tuple[float, float, float]] = []

    @property
    def is_over(self) -> bool:
        """Return whether it was opened and closed."""
        return len(self._marks) == 2

    def seconds_left(self, now: float) -> float:
        """Return the time to the next ``turn`` that does something."""
        return 1.0 if self.is_over else self._times[len(self._marks)] - now

    def turn(self, now: float, *, is_forced: bool = False) -> None:
        """Open or close the journal if it is time."""
        if not self.is_over and (is_forced or self.seconds_left(now) <= 0):
            used = [sum(process.cpu_times()[:2]) if process else 0.0 for process in self._processes]
            self._marks.append((now, used[0], used[1]))
            self._journal.is_open = not self.is_over

    def elapsed(self) -> tuple[float, float, float]:
        """Return the seconds of the window, of this process's CPU and of the server's."""
        opened, closed = self._marks
        return closed[0] - opened[0], closed[1] - opened[1], closed[2] - opened[2]

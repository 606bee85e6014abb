"""How long slices take, by how many rows they have: tried before the first one, and learned from every one after.

Numbers are kept for each power of two of the rows, which stands for those up to its double. Runs on the engine's
thread but for ``try_out``; numbers may be read from any.
"""

import math
import time
from collections.abc import Callable, Mapping

_UNKNOWN_STEP_S = 0.0005
_SHORTEST_STEP_S = 1e-7
_LEARNING_RATE = 0.2
_WORTH_SHARE = 0.8
_STEPS = 4
_TRIALS_S = 0.1
_MOST_TRIALS = 8


class Pace:
    """What is known of the slices of one lane.

    Args:
        max_rows: rows of a slice at most.
        tried: seconds of a step by rows, all measured at about the same time.

    Attributes:
        worth: the fewest rows that give four fifths of what any number of rows gave when they were tried. Slices that
            were seen later say nothing of that: the machine was quicker in some than in others.
    """

    def __init__(self, max_rows: int, tried: Mapping[int, float]) -> None:
        self._step_s = {rows.bit_length(): step_s for rows, step_s in tried.items()}
        self._overhead_s: dict[int, float] = {}
        rates = {rows: rows / step_s for rows, step_s in tried.items()}
        least = _WORTH_SHARE * max(rates.values(), default=0.0)
        self.worth = min((rows for rows, rate in rates.items() if rate >= least), default=max_rows)

    def step_s(self, rows: int) -> float:
        """Return about how long a step of so many rows takes."""
        return self._step_s.get(rows.bit_length(), _UNKNOWN_STEP_S)

    def overhead_s(self, rows: int) -> float:
        """Return about how long a slice of so many rows takes beside its run."""
        return self._overhead_s.get(rows.bit_length(), 0.0)

    def learn(self, rows: int, steps: int, stages_s: Mapping[str, float]) -> None:
        """Take in what the beats of a slice took."""
        size, run_s = rows.bit_length(), stages_s["run"]
        overhead_s = sum(stages_s.values()) - run_s
        seen = ((self._step_s, max(run_s / steps, _SHORTEST_STEP_S)), (self._overhead_s, overhead_s))
        for known, number in seen:
            before = known.get(size, number)
            known[size] = before + _LEARNING_RATE * (number - before)


def try_out(run: Callable[[int, int], object], max_rows: int, clock: Callable[[], float] = time.perf_counter) -> Pace:
    """Run each power of two of the rows several times in turn, and return what the quickest ones took.

    Args:
        run: advances so many rows by so many steps.
        max_rows: rows at most.
        clock: monotonic seconds.
    """
    quickest = {1 << size: math.inf for size in range(max_rows.bit_length())}
    started = clock()
    for trial in range(_MOST_TRIALS):
        for rows, step_s in quickest.items():
            began = clock()
            run(rows, _STEPS)
            quickest[rows] = min(step_s, (clock() - began) / _STEPS)
        if trial and clock() - started > _TRIALS_S:
            break
    return Pace(max_rows, {rows: max(step_s, _SHORTEST_STEP_S) for rows, step_s in quickest.items()})

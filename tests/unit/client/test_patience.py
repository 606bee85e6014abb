"""How often and how soon a call is made again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from unrolled_client import ResumePolicy, errors
from unrolled_client.wire.patience import Patience


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def pauses(patience: Patience, clock: Clock, error: errors.UnrolledError) -> list[float]:
    found: list[float] = []
    while (pause_s := patience.pause_s(error)) is not None:
        found.append(pause_s)
        clock.now_s += pause_s
    return found


def patience_of(timeout_s: float | None = None, **bounds: Any) -> tuple[Patience, Clock]:
    clock = Clock()
    middle: Callable[[], float] = lambda: 0.5  # noqa: E731
    return Patience(ResumePolicy(**bounds), timeout_s, clock=clock, draw=middle), clock


def test_pauses_double_up_to_their_bound() -> None:
    patience, clock = patience_of(max_attempts=8)
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_progress_begins_the_bounds_anew() -> None:
    patience, clock = patience_of(max_attempts=2)
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1]
    patience.renew()
    assert pauses(patience, clock, errors.Draining("")) == [0.05, 0.1]


def test_a_server_that_says_when_is_obeyed_within_the_bounds() -> None:
    patience, clock = patience_of(timeout_s=100, max_attempts=10)
    assert pauses(patience, clock, errors.StoreUnavailable("", retry_after_s=9)) == [9, 9, 9]


def test_a_server_that_was_never_met_is_given_up_sooner() -> None:
    patience, clock = patience_of()
    assert sum(pauses(patience, clock, errors.Unreachable(""))) < 2
    patience, clock = patience_of()
    patience.meet()
    assert 20 < sum(pauses(patience, clock, errors.Unreachable(""))) < 30


def test_the_calls_own_time_covers_everything() -> None:
    patience, clock = patience_of(timeout_s=1)
    assert sum(pauses(patience, clock, errors.Draining(""))) < 1
    clock.now_s = 0.75
    assert patience.remaining_s() == 0.25
    clock.now_s = 7
    assert patience.remaining_s() == 0


@pytest.mark.parametrize("bounds", [{"max_attempts": -1}, {"timeout_s": float("nan")}, {"max_backoff_s": float("inf")}])
def test_a_policy_out_of_range_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bounds))):
        ResumePolicy(**bounds)


def test_where_there_is_another_server_nobody_waits_for_this_one() -> None:
    others = iter([True, True, False, True])
    patience = Patience(ResumePolicy(max_attempts=3), can_move=lambda _: next(others))
    error = errors.Draining("", retry_after_s=7)
    assert [patience.pause_s(error) for _ in range(4)] == [0.0, 0.0, 7, None]

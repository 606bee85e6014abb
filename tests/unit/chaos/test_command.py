import pytest

from chaos.__main__ import describe, parse
from chaos.checker import Verdict, Violation, Wrong
from chaos.faults import draw_faults
from chaos.run import Plan


def test_without_options_it_is_the_run_that_is_written_about() -> None:
    assert parse([]) == Plan(seconds=90, sessions=200, seed=1, replicas=3)


@pytest.mark.parametrize(
    ("option", "low", "high"),
    [("--seconds", 5, 3600), ("--sessions", 1, 1000), ("--seed", 0, 2**64 - 1), ("--replicas", 1, 9)],
)
def test_every_number_has_its_bounds(option: str, low: int, high: int, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (low, high):
        assert vars(parse([option, str(number)]))[option.removeprefix("--")] == number
    for text in (str(low - 1), str(high + 1), "nan", "x"):
        with pytest.raises(SystemExit):
            parse([option, text])
    assert option in capsys.readouterr().err


def test_what_is_wrong_is_shown_and_not_all_of_it() -> None:
    violations = [Violation(Wrong.GAP, call, 1.5, "a piece is missing") for call in range(50)]
    lines = describe(Verdict(violations=violations, wrong_characters=50), draw_faults(1, 8, 3))
    assert "wrong characters: 50" in lines
    assert "gap: call 0 at 1.500 s: a piece is missing" in lines
    assert lines[-1] == "and 30 more"

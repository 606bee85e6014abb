from chaos.tapes import Part, Tape
from unrolled_client import Sampling

TAPE = Tape("one", "alphabet", 1, Sampling(), (Part("abc", 10), Part("d", 5)))


def test_a_tape_says_what_is_fed_and_what_is_generated_at_every_position() -> None:
    assert TAPE.length == 19
    assert [TAPE.prompt_at(position) for position in (0, 1, 3, 12, 13, 14, 19)] == ["abc", "bc", "", "", "d", "", ""]
    assert [TAPE.left_at(position) for position in (0, 1, 3, 4, 12, 13, 14, 18, 19)] == [10, 10, 10, 9, 1, 5, 5, 1, 0]

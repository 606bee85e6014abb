"""A history against a plain list: what it says of its past, and which states it goes back to."""

from collections import Counter

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from unrolled_service.sessions.history import ORIGIN, Checkpoint, Format, History

SIZE = 5
FORM = Format(SIZE)
REACH = 7
STATE_BYTES = 4

tokens = st.lists(st.integers(0, 2 * SIZE - 1), max_size=12)


def state_at(position: int) -> bytes:
    return position.to_bytes(STATE_BYTES, "little")


class HistoryMachine(RuleBasedStateMachine):
    """Its owner keeps all tokens, and how many of them the state has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []
        self.consumed = 0
        self.floor = 0
        self.history = History(FORM, REACH)

    @initialize(before=tokens, after=tokens)
    def begin(self, before: list[int], after: list[int]) -> None:
        if not (before and after):
            return
        self.told, self.consumed, self.floor = [*before, *after], len(before), len(before) + 1
        anchor = Checkpoint(len(before), state_at(len(before)))
        counts = np.bincount(before, minlength=2 * SIZE).astype(np.uint32)
        self.history = History.begin_at(anchor, counts, after, form=FORM, reach=REACH)

    @rule(more=tokens)
    def extend(self, more: list[int]) -> None:
        self.history.extend(more)
        self.told += more

    @precondition(lambda self: self.consumed + 1 < len(self.told))
    @rule(share=st.floats(0, 1))
    def advance(self, share: float) -> None:
        self.consumed += max(1, int(share * (len(self.told) - 1 - self.consumed)))
        if self.history.wants_checkpoint(self.consumed):
            self.history.keep(Checkpoint(self.consumed, state_at(self.consumed)))
            self.floor = self.history.start
            assert self.floor == 0 or self.consumed - self.floor >= REACH - 1

    @rule(back=st.integers(0, 30))
    def rewind(self, back: int) -> None:
        position = max(self.floor, len(self.told) - back)
        checkpoint = self.history.rewind(position)
        del self.told[position:]
        assert checkpoint.position < position or checkpoint == ORIGIN
        assert checkpoint.state == (state_at(checkpoint.position) if checkpoint.position else None)
        if self.consumed >= position:
            self.consumed = checkpoint.position

    @rule(more=tokens)
    def go_on_with_a_copy(self, more: list[int]) -> None:
        original, self.history = self.history, self.history.fork()
        before = original.end
        self.extend(more)
        assert original.end == before

    @invariant()
    def it_tells_what_its_owner_knows(self) -> None:
        assert self.history.end == len(self.told)
        assert self.history.start == self.floor
        assert self.history.since(self.consumed) == self.told[self.consumed :]
        for position in (self.consumed, len(self.told)):
            counted = Counter(self.told[:position])
            assert self.history.counts(position).tolist() == [counted[token] for token in range(2 * SIZE)]

    @invariant()
    def it_keeps_two_states_at_most(self) -> None:
        assert self.history.state_bytes in (0, STATE_BYTES, 2 * STATE_BYTES)


TestHistory = HistoryMachine.TestCase
TestHistory.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_no_more_tokens_are_kept_than_a_reach_and_its_stretch() -> None:
    history = History(FORM, REACH)
    for position in range(1, 10 * REACH):
        history.extend([position % SIZE])
        if history.wants_checkpoint(position - 1):
            history.keep(Checkpoint(position - 1, state_at(position - 1)))
        assert history.end - history.start <= 2 * REACH
        assert history.start == 0 or history.end - history.start >= REACH


def test_tokens_of_large_vocabularies_are_kept_whole() -> None:
    history = History(Format(100_000), REACH, items=[199_999, 65_536])

    assert history.since(0) == [199_999, 65_536]
    assert history.counts(2)[[65_536, 199_999]].tolist() == [1, 1]

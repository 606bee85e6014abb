"""A history against a plain list: what it says of its past, and which states it goes back to."""

from collections import Counter
from typing import ClassVar

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
    """Its owner keeps all inputs, and how many of them the state has taken."""

    form: ClassVar[Format] = FORM

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []
        self.consumed = 0
        self.floor = 0
        self.history = History(self.form, REACH)

    def write(self, told: list[int]) -> list[float]:
        """Return inputs as the history takes them: tokens, or the numbers of vectors that stand for them."""
        if not self.form.width:
            return [*told]
        return [token + column / 8 for token in told for column in range(self.form.width)]

    def most(self) -> int:
        """Return how far a state may be: where outputs are fed back, an input behind it is needed."""
        return len(self.told) - self.form.is_generative

    @initialize(before=tokens, after=tokens)
    def begin(self, before: list[int], after: list[int]) -> None:
        if not (before and after):
            return
        self.told, self.consumed = [*before, *after], len(before)
        self.floor = len(before) + self.form.is_generative
        anchor = Checkpoint(len(before), state_at(len(before)))
        counts = np.bincount(before, minlength=2 * SIZE).astype(np.uint32)[: 2 * self.form.vocabulary_size]
        self.history = History.begin_at(anchor, counts, self.write(after), form=self.form, reach=REACH)

    @rule(more=tokens)
    def extend(self, more: list[int]) -> None:
        self.history.extend(self.write(more))
        self.told += more

    @precondition(lambda self: self.consumed < self.most())
    @rule(share=st.floats(0, 1))
    def advance(self, share: float) -> None:
        self.consumed += max(1, int(share * (self.most() - self.consumed)))
        if self.history.wants_checkpoint(self.consumed):
            self.history.keep(Checkpoint(self.consumed, state_at(self.consumed)))
            self.floor = self.history.start
            assert self.floor == 0 or self.most() - self.floor >= REACH - 1
            assert self.floor == 0 or self.consumed - self.floor >= REACH - self.form.is_generative

    @rule(back=st.integers(0, 30))
    def rewind(self, back: int) -> None:
        position = max(self.floor, len(self.told) - back)
        checkpoint = self.history.rewind(position)
        del self.told[position:]
        assert checkpoint.position < position or checkpoint is self.history.anchor
        assert checkpoint.position <= self.most() or checkpoint == ORIGIN
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
        assert self.history.since(self.consumed) == self.write(self.told[self.consumed :])
        for position in (self.consumed, len(self.told)):
            if self.form.width:
                assert not len(self.history.counts(position))
                continue
            counted = Counter(self.told[:position])
            assert self.history.counts(position).tolist() == [counted[token] for token in range(2 * SIZE)]

    @invariant()
    def it_knows_its_bytes_and_keeps_two_states_at_most(self) -> None:
        anchor = self.history.anchor.position
        items = (len(self.told) - anchor) * (4 * self.form.width or 2)
        counts = 2 * self.form.vocabulary_size * 4 if anchor else 0
        states = self.history.kept_bytes - items - counts
        assert states in (0, STATE_BYTES, 2 * STATE_BYTES)
        assert states or not anchor


class VectorMachine(HistoryMachine):
    """Vectors that are fed back."""

    form = Format(0, 3)


class ReadVectorMachine(HistoryMachine):
    """Vectors that are only read, so that a state may have taken all of them."""

    form = Format(0, 2, is_generative=False)


TestHistory = HistoryMachine.TestCase
TestVectors = VectorMachine.TestCase
TestReadVectors = ReadVectorMachine.TestCase
TestHistory.settings = settings(max_examples=200, stateful_step_count=30)
TestVectors.settings = TestReadVectors.settings = settings(TestHistory.settings, max_examples=40)


def test_a_history_may_begin_with_a_state_of_its_own() -> None:
    history = History(Format(0, 2), REACH)
    history.begin(state_at(9))
    history.extend([0.5] * 2 * (2 * REACH + 2))
    copy = history.fork()

    assert (history.start, history.anchor) == (0, Checkpoint(0, state_at(9)))
    assert history.rewind(3) == copy.rewind(0) == Checkpoint(0, state_at(9))
    assert (history.end, copy.end) == (3, 0)
    copy.begin(state_at(5))
    assert copy.anchor.state == state_at(5)
    assert history.anchor.state == state_at(9)


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

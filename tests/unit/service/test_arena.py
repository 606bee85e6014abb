import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unrolled_service.arena import Arena, StateSpec

CAPACITY = 5
SPECS = (StateSpec("h0", "new_h0", (3,), initial=0.5), StateSpec("c0", "new_c0", (2, 2)))


class ArenaMachine(RuleBasedStateMachine):
    """Any interleaving of acquire, write, copy and release, against a dict of plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(SPECS, CAPACITY)
        self.model: dict[int, float | None] = {}

    @precondition(lambda self: self.arena.can_acquire())
    @rule()
    def acquire(self) -> None:
        slot = self.arena.acquire()
        assert slot not in self.model
        self.model[slot] = None

    @precondition(lambda self: self.model)
    @rule(data=st.data(), value=st.floats(-1, 1, width=32))
    def write(self, data: st.DataObject, value: float) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.arena.write(np.array([slot]), [np.full((1, *spec.shape), value, np.float32) for spec in SPECS])
        self.model[slot] = value

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        source, target = (data.draw(st.sampled_from(sorted(self.model))) for _ in range(2))
        self.arena.copy(source, target)
        self.model[target] = self.model[source]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.arena.release(slot)
        del self.model[slot]
        assert not any(state.any() for state in self.arena.read(np.array([slot])))

    @invariant()
    def slots_in_use_and_free_add_up(self) -> None:
        assert self.arena.slots_in_use == len(self.model)
        assert self.arena.can_acquire() == (len(self.model) < CAPACITY)

    @invariant()
    def every_slot_holds_what_was_written(self) -> None:
        for slot, value in self.model.items():
            for spec, state in zip(SPECS, self.arena.read(np.array([slot])), strict=True):
                expected = spec.initial if value is None else np.float32(value)
                assert (state == expected).all()


TestArena = ArenaMachine.TestCase
TestArena.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_slot_bytes() -> None:
    assert Arena(SPECS, 1).slot_bytes == (3 + 4) * 4

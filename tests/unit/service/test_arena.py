import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unrolled_service.graphs.state import StateSpec, initial_state
from unrolled_service.sessions.arena import Arena

CAPACITY = 5
SIZE = 7


class ArenaMachine(RuleBasedStateMachine):
    """Any interleaving of acquire, write and release, against a dict of plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(SIZE, CAPACITY)
        self.model: dict[int, float] = {}

    @precondition(lambda self: self.arena.can_acquire())
    @rule()
    def acquire(self) -> None:
        slot = self.arena.acquire()
        assert slot not in self.model
        assert not self.arena.read(slot).any()
        self.model[slot] = 0.0

    @precondition(lambda self: self.model)
    @rule(data=st.data(), value=st.floats(-1, 1, width=32))
    def write(self, data: st.DataObject, value: float) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.arena.write(slot, np.full(SIZE, value, np.float32))
        self.model[slot] = value

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def write_several(self, data: st.DataObject) -> None:
        slots = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, unique=True))
        self.arena.write(np.array(slots), np.arange(len(slots), dtype=np.float32)[:, None].repeat(SIZE, axis=1))
        self.model |= {slot: float(i) for i, slot in enumerate(slots)}

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.arena.release(slot)
        del self.model[slot]

    @invariant()
    def slots_in_use_and_free_add_up(self) -> None:
        assert self.arena.slots_in_use == len(self.model)
        assert self.arena.can_acquire() == (len(self.model) < CAPACITY)

    @invariant()
    def every_slot_holds_what_was_written(self) -> None:
        for slot, value in self.model.items():
            assert (self.arena.read(slot) == np.float32(value)).all()


TestArena = ArenaMachine.TestCase
TestArena.settings = settings(max_examples=100, stateful_step_count=30)


def test_slot_bytes() -> None:
    assert Arena(SIZE, 1).slot_bytes == SIZE * 4


def test_what_is_read_is_a_copy() -> None:
    arena = Arena(SIZE, 1)
    slot = arena.acquire()
    arena.read(slot)[:] = 1.0

    assert not arena.read(slot).any()


def test_the_initial_state_is_every_tensor_in_order() -> None:
    specs = (StateSpec("h0", "new_h0", (3,), initial=0.5), StateSpec("c0", "new_c0", (2, 2)))

    assert initial_state(specs).tolist() == [0.5] * 3 + [0.0] * 4

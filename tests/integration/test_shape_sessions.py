"""Sessions of every shape that keeps them: whatever is done in whatever order, each output is what follows from all
that its session was fed, a step at a time from position 0."""

from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.integration.test_shapes import CLEAR, draw_inputs
from tests.support.loop import Clock, Reader, run, run_slice
from tests.support.reference import Floats, Reference, Shapes, State, check_close
from tests.support.shapes import NAMES, TARGETS
from tests.support.snapshots import KEYS
from unrolled_export.reference import choose, uniform
from unrolled_service.engine import Engine
from unrolled_service.errors import (
    InvalidField,
    PositionMismatch,
    QueueFull,
    RewindOutOfRange,
    SessionBusy,
    SessionEvicted,
    SessionExpired,
    SessionNotFound,
    SlotsExhausted,
    TaskMismatch,
    UnrolledError,
)
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Answer
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session, Tier
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import encode, open_snapshot

KINDS = ("tagger", "tagger-vectors", "classifier", "regressor", "drawer", "composer")
STEPWISE = {"tagger", "tagger-vectors"}
READ = {*STEPWISE, "classifier", "regressor"}
REACH = 16
SESSIONS, SLOTS, STREAMS = 7, 4, 2
AGE_S = 120.0
EXAMPLES = 60
TRACED = np.array([5, 0])

whose = st.integers(0, SESSIONS - 1)
seeds = st.integers(0, 2**32 - 1)
counts = st.sampled_from((5, 0, 1, 2, 20, 40))
slices = st.sampled_from((4, 0, 1, 10))
hears = st.sampled_from((9, 0, 1, 2, 25, 60))


@dataclass
class Track:
    """All that a session was fed, and what the cell made of it, in plain lists.

    Attributes:
        reference: the cell.
        condition: f32[C], what set the state at position 0; None for the zero state.
        inputs: tokens, V added to generated ones, or vectors.
        outputs: after each input.
        states: after each input.
    """

    reference: Reference
    condition: Floats | None = None
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Floats] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs)

    def state_at(self, position: int) -> State:
        return self.states[position - 1] if position else self.reference.begin(condition=self.condition)

    def take(self, given: Any) -> None:
        taken = given % len(TARGETS) if self.reference.manifest.name == "composer" else given
        output, state = self.reference.step(taken, self.state_at(len(self)))
        self.inputs.append(given)
        self.outputs.append(output)
        self.states.append(state)

    def cut(self, position: int) -> "Track":
        """Return what it was at a position."""
        return Track(
            self.reference,
            self.condition,
            self.inputs[:position],
            self.outputs[:position],
            self.states[:position],
        )


@dataclass
class Call:
    """A row, and what its caller sent and heard.

    Attributes:
        fed: what the caller sent, start and prompt included.
        heard: how many outputs the track has taken in.
        is_ended: the caller closed its side.
    """

    row: Row
    reader: Reader
    fed: list[Any]
    seed: int
    heard: int = 0
    is_ended: bool = False


@dataclass
class Known:
    """A session as its owner knows it."""

    id: str
    seed: int
    track: Track
    floor: int
    ttl_s: float
    ends: float
    used: int = 0
    expires: float = 0.0
    call: Call | None = None


@dataclass
class Blob:
    """A session that was taken out: its bytes, and what it was then."""

    data: bytes
    known: Known
    floor: int


class ShapeMachine(RuleBasedStateMachine):
    """An engine with little room, against lists of inputs."""

    kind: ClassVar[str]
    served: ClassVar[Bundle]
    reference: ClassVar[Reference]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.known: dict[str, Known] = {}
        self.gone: dict[str, type[UnrolledError]] = {}
        self.blobs: list[Blob] = []
        self.uses = count(1)

    @initialize(
        max_steps=st.sampled_from((6, 2, 16)),
        credit=st.sampled_from((8, 2, 64)),
        pasts=st.lists(st.integers(0, 40), min_size=1, max_size=2),
    )
    def start(self, max_steps: int, credit: int, pasts: list[int]) -> None:
        self.settings = Settings(
            max_steps=max_steps,
            credit=credit,
            max_sessions=SESSIONS,
            slots=SLOTS,
            max_streams=STREAMS,
            max_rows=2,
            rewind_tokens=REACH,
            evict_after_s=0,
            max_session_age_s=AGE_S,
            engine_threads=1,
        )
        self.engine = Engine([self.served], self.settings, self.clock)
        for who, past in enumerate(pasts):
            self.create(who, 500.0)
            if past:
                self.converse(who, past, past, past // 2)

    # What owners do.

    @rule(seed=seeds, ttl_s=st.sampled_from((50.0, 500.0)))
    def create(self, seed: int, ttl_s: float) -> None:
        if self.make_room(1):
            self.learn(self.engine.create_session("", seed=seed, ttl_s=ttl_s), seed, Track(self.reference), 0, ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.create_session("", seed=seed, ttl_s=ttl_s)

    @rule(
        who=whose,
        size=counts,
        values=seeds,
        budget=st.sampled_from((30, 1, 7, 60)),
        label=st.sampled_from(NAMES),
        is_right=st.sampled_from((True, True, True, False)),
        slices=slices,
        heard=hears,
    )
    def call(
        self, who: int, size: int, values: int, budget: int, label: str, is_right: bool, slices: int, heard: int
    ) -> None:
        known = self.look_up(who)
        if known is None:
            return
        fed = [*draw_inputs(self.kind, size, values)]
        if self.kind == "composer":
            fed = [1 + token % (len(TARGETS) - 1) for token in fed]
        condition = self.choose_condition(known, label, is_right)
        reader, seed = Reader(is_eager=False), values
        try:
            row = self.submit(known, fed, budget, condition, seed, reader)
        except SessionBusy:
            assert known.call
        except InvalidField:
            assert self.served.condition
            assert not is_right
        except QueueFull:
            assert sum(each.call is not None for each in self.known.values()) == STREAMS
        else:
            assert known.call is None
            assert is_right or not self.served.condition
            if self.kind not in READ:
                fed = [*(() if len(known.track) else self.reference.player.start()), *fed]
            if not len(known.track):
                known.track.condition = condition
            known.call = Call(row, reader, fed, seed)
            self.use(known)
            self.go_on(who, slices, heard)

    def submit(
        self, known: Known, fed: list[Any], budget: int, condition: Floats | None, seed: int, reader: Reader
    ) -> Row:
        inputs = np.array(fed) if fed else draw_inputs(self.kind, 0, 0)
        options: dict[str, Any] = {
            "session_id": known.id,
            "expected_position": len(known.track),
            "traced": TRACED,
        }
        if self.kind in READ:
            reading = Reading(inputs, self.kind in STEPWISE, **options)
            return self.engine.submit_reading("", reading, reader)
        generation = Generation(
            inputs, budget, Sampling(), seed=seed, condition=condition, end=abilities.end(self.served), **options
        )
        return self.engine.submit("", generation, reader)

    def choose_condition(self, known: Known, label: str, is_right: bool) -> Floats | None:
        """Return a condition where one is wanted; where it is to be wrong, the other way round."""
        if not self.served.condition or bool(known.track.inputs) == is_right:
            return None
        return self.reference.condition(label)

    @rule(who=whose, size=st.sampled_from((3, 1, 17, 40)), values=seeds, slices=slices, heard=hears)
    def feed(self, who: int, size: int, values: int, slices: int, heard: int) -> None:
        if (known := self.pick(who)) and (call := known.call) and self.kind in READ and not call.is_ended:
            assert isinstance(call.row, ReadingRow)
            more = draw_inputs(self.kind, size, values)
            self.engine.feed(call.row, more)
            call.fed += [*more]
            self.go_on(who, slices, heard)

    @rule(who=whose, slices=slices, heard=hears)
    def end(self, who: int, slices: int, heard: int) -> None:
        if (known := self.pick(who)) and (call := known.call) and self.kind in READ and not call.is_ended:
            assert isinstance(call.row, ReadingRow)
            call.is_ended = True
            self.engine.end(call.row)
            self.go_on(who, slices, heard)

    @rule(who=whose, size=st.integers(1, 40), heard=st.integers(0, 80), more=counts)
    def converse(self, who: int, size: int, heard: int, more: int) -> None:
        """Call, hear some, feed and hear more, break off, and call again at once."""
        for inputs in (size, more):
            self.call(who, inputs, who, max(inputs, heard), NAMES[size % 3], True, 3, heard // 2)
            self.feed(who, 1 + inputs // 2, heard, 6, heard)
            self.end(who, 6, heard)
            self.close(who)

    @rule(who=whose, slices=slices, heard=hears)
    def go_on(self, who: int, slices: int, heard: int) -> None:
        for _ in range(slices):
            if not run_slice(self.engine):
                break
        if (known := self.pick(who)) and (call := known.call):
            call.reader.hear(heard)
            self.take_in(known, call)

    @rule(who=whose)
    def close(self, who: int) -> None:
        if (known := self.pick(who)) and known.call:
            self.engine.close(known.call.row)
            self.end_call(known)

    @rule(who=whose, given=st.lists(st.none() | seeds, min_size=1, max_size=5), is_amid=st.booleans())
    def fork(self, who: int, given: list[int | None], is_amid: bool) -> None:
        if is_amid:
            self.call(who, 5, len(given), 30, NAMES[0], True, 4, 9)
        known = self.look_up(who)
        if known is None:
            return
        self.use(known)
        if not self.make_room(len(given), sparing=known):
            with pytest.raises(SlotsExhausted):
                self.engine.fork_session(known.id, given)
            return
        copies = self.engine.fork_session(known.id, given, expected=len(known.track))
        for copy, seed in zip(copies, given, strict=True):
            track = known.track.cut(len(known.track))
            self.learn(copy, known.seed if seed is None else seed, track, known.floor, known.ttl_s)

    @rule(who=whose, back=st.none() | st.integers(0, 60))
    def rewind(self, who: int, back: int | None) -> None:
        """Go some inputs back; None goes to where the kept state is."""
        known = self.look_up(who)
        if known is None:
            return
        if back is None:
            position = self.engine.session(known.id).consumed
        else:
            position = max(0, len(known.track) - back % (len(known.track) - known.floor + 2))
        if known.call:
            with pytest.raises(SessionBusy):
                self.engine.rewind_session(known.id, position)
        elif position < known.floor:
            with pytest.raises(RewindOutOfRange):
                self.engine.rewind_session(known.id, position)
        else:
            self.engine.rewind_session(known.id, position, expected=len(known.track))
            known.track = known.track.cut(position)
            self.use(known)

    @rule(who=whose)
    def take_out(self, who: int) -> None:
        if known := self.look_up(who):
            content = self.engine.take_out_session(known.id, expected=len(known.track))
            pending = [np.ravel(given) for given in known.track.inputs[content.consumed :]]
            assert list(content.pending) == np.concatenate([*pending, np.empty(0)]).tolist()
            floor = self.engine.session(known.id).history.start
            assert floor == (content.consumed + (self.kind not in READ) if content.consumed else 0)
            then = Known(known.id, known.seed, known.track.cut(len(known.track)), 0, known.ttl_s, 0.0)
            self.blobs.append(Blob(encode(content, KEYS), then, floor))

    @rule(which=st.integers(0, 100), is_fresh=st.booleans(), seed=st.none() | seeds, under_its_id=st.booleans())
    def put_in(self, which: int, is_fresh: bool, seed: int | None, under_its_id: bool) -> None:
        if is_fresh:
            self.take_out(which)
        if not self.blobs:
            return
        blob = self.blobs[-1 if is_fresh else which % len(self.blobs)]
        content = open_snapshot(blob.data, KEYS, owner="").unpack([self.served.host], accept_other_numerics=False)
        session_id = blob.known.id if under_its_id else None
        seed = None if under_its_id else seed
        replaced = self.known.get(session_id or "")
        if replaced and replaced.call:
            with pytest.raises(SessionBusy):
                self.engine.registry.put_in(content, session_id=session_id)
        elif replaced or self.make_room(1):
            session = self.engine.registry.put_in(content, seed=seed, session_id=session_id)
            then = blob.known
            track = then.track.cut(len(then.track))
            self.learn(session, then.seed if seed is None else seed, track, blob.floor, then.ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.registry.put_in(content, seed=seed, session_id=session_id)

    @rule(who=whose)
    def delete(self, who: int) -> None:
        known = self.look_up(who)
        if known is None:
            return
        if known.call:
            with pytest.raises(SessionBusy):
                self.engine.delete_session(known.id)
        else:
            self.engine.delete_session(known.id, expected=len(known.track))
            self.lose(known, SessionNotFound)

    @rule(who=whose, off=st.integers(1, 3))
    def ask_for_what_is_refused(self, who: int, off: int) -> None:
        if known := self.look_up(who):
            elsewhere = len(known.track) + off
            inputs = draw_inputs(self.kind, 1, 0)
            step = Reading(inputs, True, known.id, elsewhere)
            reading = Reading(inputs, False, known.id, elsewhere)
            generation = Generation(inputs, 1, session_id=known.id, expected_position=elsewhere)
            for fits, submit in (
                (self.kind in STEPWISE, partial(self.engine.submit_reading, "", step)),
                (self.kind in READ - STEPWISE, partial(self.engine.submit_reading, "", reading)),
                (self.kind not in READ, partial(self.engine.submit, "", generation)),
            ):
                error = (SessionBusy if known.call else PositionMismatch) if fits else TaskMismatch
                with pytest.raises(error):
                    submit(Reader())

    # What happens to them.

    @rule(who=whose)
    def pack(self, who: int) -> None:
        if (known := self.look_up(who)) and known.call is None:
            self.engine.lanes[self.kind].residency.pack(self.engine.session(known.id))

    @rule(seconds=st.sampled_from((1.0, 30.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        for known in list(self.known.values()):
            if known.call is None and known.expires <= self.clock.now:
                self.lose(known, SessionExpired)

    @rule()
    def restart(self) -> None:
        self.known, self.gone = {}, dict.fromkeys([*self.known, *self.gone], SessionNotFound)
        self.engine = Engine([self.served], self.settings, self.clock)

    # What must hold.

    @invariant()
    def what_is_counted_adds_up(self) -> None:
        lane = self.engine.lanes[self.kind]
        sessions, residency = self.engine.registry.page(0, 100), lane.residency
        assert {session.id for session in sessions} == {*self.known}
        assert lane.sessions == len(self.engine.registry) == len(self.known)
        assert self.engine.streams == sum(known.call is not None for known in self.known.values())
        slots = [session.slot for session in sessions if session.slot is not None]
        assert len(set(slots)) == len(slots) == residency.arena.slots_in_use <= SLOTS
        assert residency.state_bytes == sum(
            session.counted_bytes  # a history that grows is counted now and then
            if session.row
            else (len(session.packed or b"") if session.slot is None else residency.arena.slot_bytes)
            + session.history.kept_bytes
            for session in sessions
        )

    @invariant()
    def every_session_is_where_it_should_be(self) -> None:
        residency = self.engine.lanes[self.kind].residency
        for session in self.engine.registry.page(0, 100):
            known = self.known[session.id]
            told = self.engine.registry.describe(session)
            assert told.position == session.position == len(known.track)
            assert told.is_busy == (known.call is not None)
            assert told.seed == known.seed
            assert session.slot is not None or not told.is_busy
            assert told.tier is (Tier.PACKED if session.slot is None else Tier.RESIDENT)
            state = known.track.state_at(session.consumed)
            check_close(residency.state_of(session), self.reference.flatten(state))
            self.check_floor(known, told.rewindable_from)

    def teardown(self) -> None:
        """Let every living session go on, and ask for those that are gone."""
        for session_id, reason in self.gone.items():
            with pytest.raises(reason):
                self.engine.session(session_id)
        for who in range(len(self.known)):
            self.close(who)
        for who in range(len(self.known)):
            self.call(who, 3, who, 10, NAMES[0], True, 0, 0)
            self.end(who, 0, 0)
            run(self.engine)
            known = self.pick(who)
            assert known
            assert known.call
            while not known.call.reader.finish:
                self.go_on(who, 1, 100)
            self.close(who)

    # The owner's side.

    def take_in(self, known: Known, call: Call) -> None:
        """Compare what was heard since the last time with what follows from the history, which it then becomes."""
        track, reader = known.track, call.reader
        assert reader.error is None
        new, is_first = reader.items[call.heard :], not call.heard
        call.heard += len(new)
        if self.kind in STEPWISE:
            for item, given in zip(new, call.fed[call.heard - len(new) : call.heard], strict=True):
                assert isinstance(item, Answer)
                track.take(given)
                self.check(item, track, item.values)
        elif self.kind in READ:
            assert bool(new) == bool(reader.finish and call.fed and is_first)
            for item in new:
                assert isinstance(item, Answer)
                for given in call.fed:
                    track.take(given)
                self.check(item, track, item.values)
        else:
            if is_first and (new or (reader.finish and reader.finish.position > len(track))):
                for given in call.fed:
                    track.take(given)
            for i, item in enumerate(new, call.heard - len(new)):
                self.check(item, track, item.values if isinstance(item, Answer) else None)
                track.take(self.next_input(track, call, i))
        if finish := reader.finish:
            assert reader.delivered == finish.position == len(track)
            if finish.reason is FinishReason.END and self.kind not in READ:
                assert choose(track.outputs[-1], uniform(call.seed, len(track))).token == 0

    def check(self, item: Any, track: Track, values: Any) -> None:
        if values is not None:
            check_close(values, track.outputs[-1])
        check_close(item.activations, self.reference.flatten(track.states[-1])[TRACED])

    def next_input(self, track: Track, call: Call, i: int) -> Any:
        """Return output i of a call, which is its next input; a token must be the one that a sampler chooses."""
        if self.kind == "drawer":
            item = call.reader.items[i]
            assert isinstance(item, Answer)
            return np.array(item.values, np.float32)
        token = TARGETS.index(call.reader.text[i])
        choice = choose(track.outputs[-1], uniform(call.seed, len(track)))
        assert token == choice.token or choice.margin < CLEAR
        return token + len(TARGETS)

    def pick(self, who: int) -> Known | None:
        return list(self.known.values())[who % len(self.known)] if self.known else None

    def look_up(self, who: int) -> Known | None:
        """Pick a session and look it up, which ends a call on it that is over."""
        known = self.pick(who)
        if known is None:
            return None
        session = self.engine.session(known.id)
        if (call := known.call) and call.row.is_closed:
            call.reader.read()
            assert call.reader.finish  # nobody but its caller ends a call that has not said so
            self.take_in(known, call)
            self.end_call(known)
        self.check_floor(known, session.history.start)
        return self.known.get(known.id)

    def check_floor(self, known: Known, floor: int) -> None:
        """Let the server forget what lies behind the reach of rewinds, and nothing else."""
        assert floor == known.floor or len(known.track) - floor >= REACH
        known.floor = floor

    def end_call(self, known: Known) -> None:
        known.call = None
        self.use(known)
        if known.expires <= self.clock.now:
            self.lose(known, SessionExpired)

    def use(self, known: Known) -> None:
        known.used = next(self.uses)
        known.expires = min(self.clock.now + known.ttl_s, known.ends)

    def lose(self, known: Known, reason: type[UnrolledError]) -> None:
        del self.known[known.id]
        self.gone[known.id] = reason

    def make_room(self, number: int, *, sparing: Known | None = None) -> bool:
        """Foresee who is given up for new sessions; return whether there will be room."""
        idle = sorted((each for each in self.known.values() if each.call is None), key=lambda each: each.used)
        idle = [each for each in idle if each is not sparing]
        excess = max(0, len(self.known) + number - SESSIONS)
        if excess > len(idle):
            return False
        for known in idle[:excess]:
            self.lose(known, SessionEvicted)
        return True

    def learn(self, session: Session, seed: int, track: Track, floor: int, ttl_s: float) -> None:
        known = Known(session.id, seed, track, floor, ttl_s, self.clock.now + AGE_S)
        self.known[session.id] = known
        self.gone.pop(session.id, None)
        self.use(known)


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_answer_what_follows_from_their_whole_history(shapes: Shapes, kind: str) -> None:
    class Machine(ShapeMachine):
        served = shapes.bundle(kind)
        reference = shapes.reference(kind)

    Machine.kind = kind
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

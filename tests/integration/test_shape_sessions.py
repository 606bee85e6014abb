"""Sessions of every shape that keeps them: whatever is done in whatever order, each output is what follows from all
that its session was fed, a step at a time from position 0."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.integration.test_shapes import CLEAR, draw_inputs
from tests.support.loop import Reader, run, run_slice
from tests.support.reference import Floats, Reference, Shapes, State, check_close
from tests.support.session_machine import STREAMS, Known, SessionMachine, given_seeds, seeds, slices, whose
from tests.support.shapes import NAMES, TARGETS
from unrolled_export.reference import choose, uniform
from unrolled_service.errors import InvalidField, PositionMismatch, QueueFull, SessionBusy, TaskMismatch
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models import abilities
from unrolled_service.rows.delivery import Answer
from unrolled_service.rows.finish import FinishReason
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session
from unrolled_service.snapshots.snapshot import Content

KINDS = ("tagger", "tagger-vectors", "classifier", "regressor", "drawer", "composer")
STEPWISE = {"tagger", "tagger-vectors"}
READ = {*STEPWISE, "classifier", "regressor"}
EXAMPLES = 60
TRACED = np.array([5, 0])

counts = st.sampled_from((5, 0, 1, 2, 20, 40))
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


Owned = Known[Track, Call]


class ShapeMachine(SessionMachine[Track, Call]):
    """Sessions of one kind, against lists of inputs."""

    kind: ClassVar[str]
    reference: ClassVar[Reference]

    @initialize(
        max_steps=st.sampled_from((6, 2, 16)),
        credit=st.sampled_from((8, 2, 64)),
        pasts=st.lists(st.integers(0, 40), min_size=1, max_size=2),
    )
    def start(self, max_steps: int, credit: int, pasts: list[int]) -> None:
        self.open(max_steps, credit)
        for who, past in enumerate(pasts):
            self.create(who, 500.0)
            if past:
                self.converse(who, past, past, past // 2)

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
            assert known.talk
        except InvalidField:
            assert self.served.condition
            assert not is_right
        except QueueFull:
            assert self.talks == STREAMS
        else:
            assert known.talk is None
            assert is_right or not self.served.condition
            if self.kind not in READ:
                fed = [*(() if len(known.past) else self.reference.player.start()), *fed]
            if not len(known.past):
                known.past.condition = condition
            known.talk = Call(row, reader, fed, seed)
            self.use(known)
            self.go_on(who, slices, heard)

    def submit(
        self, known: Owned, fed: list[Any], budget: int, condition: Floats | None, seed: int, reader: Reader
    ) -> Row:
        inputs = np.array(fed) if fed else draw_inputs(self.kind, 0, 0)
        options: dict[str, Any] = {
            "session_id": known.id,
            "expected_position": len(known.past),
            "traced": TRACED,
        }
        if self.kind in READ:
            reading = Reading(inputs, self.kind in STEPWISE, **options)
            return self.engine.submit_reading("", reading, reader)
        generation = Generation(
            inputs, budget, Sampling(), seed=seed, condition=condition, end=abilities.end(self.served), **options
        )
        return self.engine.submit("", generation, reader)

    def choose_condition(self, known: Owned, label: str, is_right: bool) -> Floats | None:
        """Return a condition where one is wanted; where it is to be wrong, the other way round."""
        if not self.served.condition or bool(known.past.inputs) == is_right:
            return None
        return self.reference.condition(label)

    @rule(who=whose, size=st.sampled_from((3, 1, 17, 40)), values=seeds, slices=slices, heard=hears)
    def feed(self, who: int, size: int, values: int, slices: int, heard: int) -> None:
        if (known := self.pick(who)) and (call := known.talk) and self.kind in READ and not call.is_ended:
            assert isinstance(call.row, ReadingRow)
            more = draw_inputs(self.kind, size, values)
            self.engine.feed(call.row, more)
            call.fed += [*more]
            self.go_on(who, slices, heard)

    @rule(who=whose, slices=slices, heard=hears)
    def end(self, who: int, slices: int, heard: int) -> None:
        if (known := self.pick(who)) and (call := known.talk) and self.kind in READ and not call.is_ended:
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
        if (known := self.pick(who)) and (call := known.talk):
            call.reader.hear(heard)
            self.take_in(known, call)

    @rule(who=whose, given=given_seeds, is_amid=st.booleans())
    def fork(self, who: int, given: list[int | None], is_amid: bool) -> None:
        if is_amid:
            self.call(who, 5, len(given), 30, NAMES[0], True, 4, 9)
        self.make_forks(who, given)

    @rule(who=whose, off=st.integers(1, 3))
    def ask_for_what_is_refused(self, who: int, off: int) -> None:
        if known := self.look_up(who):
            elsewhere = len(known.past) + off
            inputs = draw_inputs(self.kind, 1, 0)
            step = Reading(inputs, True, known.id, elsewhere)
            reading = Reading(inputs, False, known.id, elsewhere)
            generation = Generation(inputs, 1, session_id=known.id, expected_position=elsewhere)
            for fits, submit in (
                (self.kind in STEPWISE, partial(self.engine.submit_reading, "", step)),
                (self.kind in READ - STEPWISE, partial(self.engine.submit_reading, "", reading)),
                (self.kind not in READ, partial(self.engine.submit, "", generation)),
            ):
                error = (SessionBusy if known.talk else PositionMismatch) if fits else TaskMismatch
                with pytest.raises(error):
                    submit(Reader())

    def teardown(self) -> None:
        """Let every living session go on, and ask for those that are gone."""
        super().teardown()
        for who in range(len(self.known)):
            self.call(who, 3, who, 10, NAMES[0], True, 0, 0)
            self.end(who, 0, 0)
            run(self.engine)
            known = self.pick(who)
            assert known
            assert known.talk
            while not known.talk.reader.finish:
                self.go_on(who, 1, 100)
            self.close(who)

    def begin_past(self) -> Track:
        return Track(self.reference)

    def heard(self, known: Owned) -> Track:
        return known.past

    def cut(self, past: Track, position: int) -> Track:
        return past.cut(position)

    def check_content(self, known: Owned, content: Content) -> None:
        pending = [np.ravel(given) for given in known.past.inputs[content.consumed :]]
        assert list(content.pending) == np.concatenate([*pending, np.empty(0)]).tolist()

    def check_state(self, known: Owned, session: Session) -> None:
        state = known.past.state_at(session.consumed)
        check_close(self.lane.residency.state_of(session), self.reference.flatten(state))

    def hear_the_end(self, known: Owned) -> None:
        assert known.talk
        known.talk.reader.read()
        assert known.talk.reader.finish  # nobody but its caller ends a call that has not said so
        self.take_in(known, known.talk)

    def take_in(self, known: Owned, call: Call) -> None:
        """Compare what was heard since the last time with what follows from the history, which it then becomes."""
        track, reader = known.past, call.reader
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


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_answer_what_follows_from_their_whole_history(shapes: Shapes, kind: str) -> None:
    class Machine(ShapeMachine):
        served = shapes.bundle(kind)
        reference = shapes.reference(kind)

    Machine.kind, Machine.ahead = kind, int(kind not in READ)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

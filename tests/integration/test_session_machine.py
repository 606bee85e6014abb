"""Whatever is done to sessions in whatever order: nobody ever sees a letter that paper does not say."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.alphabet import write_bundle
from tests.support.loop import Clock, Reader, begin, generate, run_slice
from tests.support.paper import continue_history, find_stop, is_clear
from tests.support.snapshots import KEYS
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
    UnrolledError,
)
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.lanes.lane import Lane
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session, Tier
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import encode, open_snapshot

LETTERS = "abcdefghijk"
SIZE = len(LETTERS)
SHARPNESS = 2.0
REACH = 16
SESSIONS, SLOTS, STREAMS = 7, 4, 2
AGE_S = 120.0
EXAMPLES = 2000
SEEDS = [seed for seed in range(40) if is_clear(seed, 600, size=SIZE, sharpness=SHARPNESS)]
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.0, frequency_penalty=0.5, presence_penalty=0.25),
    Sampling(temperature=0.0, repetition_penalty=2.0, frequency_penalty=0.125, logit_bias=((3, 1.5), (7, 1.0))),
)

whose = st.integers(0, SESSIONS - 1)
seeds = st.sampled_from(SEEDS)
prompts = st.text(LETTERS, max_size=4) | st.text(LETTERS, min_size=20, max_size=30)
slices = st.sampled_from((4, 0, 1, 10))
characters = st.sampled_from((9, 0, 1, 2, 25, 40))


@dataclass
class Talk:
    """A stream, and what paper says of it."""

    stream: Row
    reader: Reader
    prompt: list[int]
    text: str
    stop: str


@dataclass
class Known:
    """A session as its owner knows it."""

    id: str
    seed: int
    history: list[int]
    floor: int
    ttl_s: float
    ends: float
    used: int = 0
    expires: float = 0.0
    talk: Talk | None = None

    @property
    def heard(self) -> list[int]:
        """The history as far as it was delivered."""
        if self.talk is None or not (self.talk.reader.text or self.talk.reader.finish):
            return self.history
        return self.history + self.talk.prompt + [SIZE + LETTERS.index(letter) for letter in self.talk.reader.text]


@dataclass
class Blob:
    """A session that was taken out: its bytes, and what it was then."""

    data: bytes
    known: Known
    floor: int


class SessionMachine(RuleBasedStateMachine):
    """An engine with little room, against lists of tokens."""

    served: ClassVar[Bundle]

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
        sampling=st.sampled_from(SAMPLINGS),
    )
    def start(self, max_steps: int, credit: int, pasts: list[int], sampling: Sampling) -> None:
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
            self.create(SEEDS[who], 500.0)
            if past:
                self.converse(who, LETTERS, past, sampling, past)

    # What owners do.

    @rule(seed=seeds, ttl_s=st.sampled_from((50.0, 500.0)))
    def create(self, seed: int, ttl_s: float) -> None:
        if self.make_room(1):
            self.learn(self.engine.create_session("", seed=seed, ttl_s=ttl_s), seed, [], 0, ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.create_session("", seed=seed, ttl_s=ttl_s)

    @rule(
        who=whose,
        prompt=prompts,
        budget=st.sampled_from((30, 1, 7, 60)),
        sampling=st.sampled_from(SAMPLINGS),
        stops=st.just(()) | st.lists(st.text(LETTERS, min_size=1, max_size=3), max_size=2).map(tuple),
        seed=st.none() | seeds,
        logprobs=st.sampled_from((0, 2)),
        slices=slices,
        hears=characters,
    )
    def generate(
        self,
        who: int,
        prompt: str,
        budget: int,
        sampling: Sampling,
        stops: tuple[str, ...],
        seed: int | None,
        logprobs: int,
        slices: int,
        hears: int,
    ) -> None:
        known = self.look_up(who)
        if known is None:
            return
        reader = Reader(is_eager=False)
        options: dict[str, Any] = {
            "session_id": known.id,
            "sampling": sampling,
            "stops": stops,
            "seed": seed,
            "logprobs": logprobs,
        }
        try:
            stream, _ = begin(self.engine, prompt, budget, reader=reader, expected_position=len(known.heard), **options)
        except SessionBusy:
            assert known.talk
        except InvalidField:
            assert not prompt
            assert not known.history
        except QueueFull:
            assert sum(each.talk is not None for each in self.known.values()) == STREAMS
        else:
            assert known.talk is None
            fed = [LETTERS.index(letter) for letter in prompt]
            text = self.say(known.history + fed, budget, known.seed if seed is None else seed, sampling)
            known.talk = Talk(stream, reader, fed, *find_stop(text, stops))
            self.use(known)
            self.go_on(who, slices, hears)

    @rule(who=whose, prompt=prompts, cut=st.integers(0, 30), sampling=st.sampled_from(SAMPLINGS), more=characters)
    def converse(self, who: int, prompt: str, cut: int, sampling: Sampling, more: int) -> None:
        """Generate, break off after some characters, and go on at once."""
        for length in (cut, more):
            self.generate(who, prompt, max(1, length), sampling, (), None, 0, 0, 0)
            if not (known := self.pick(who)):
                return
            for _ in range(2 * length):
                if not known.talk or len(known.talk.reader.text) >= length:
                    break
                self.go_on(who, 3, length // 2 + 1)
            self.close(who)

    @rule(who=whose, slices=slices, hears=characters)
    def go_on(self, who: int, slices: int, hears: int) -> None:
        for _ in range(slices):
            if not run_slice(self.engine):
                break
        self.hear(who, hears)

    def hear(self, who: int, characters: int) -> None:
        if (known := self.pick(who)) and (talk := known.talk):
            talk.reader.hear(characters)
            assert talk.text.startswith(talk.reader.text)
            if finish := talk.reader.finish:
                assert talk.reader.text == talk.text
                assert (finish.stop, finish.position) == (talk.stop, len(known.heard))

    @rule(who=whose)
    def close(self, who: int) -> None:
        if (known := self.pick(who)) and known.talk:
            self.engine.close(known.talk.stream)
            self.end_talk(known)

    @rule(who=whose, given=st.lists(st.none() | seeds, min_size=1, max_size=5))
    def fork(self, who: int, given: list[int | None]) -> None:
        known = self.look_up(who)
        if known is None:
            return
        self.use(known)
        if not self.make_room(len(given), sparing=known):
            with pytest.raises(SlotsExhausted):
                self.engine.fork_session(known.id, given)
            return
        copies = self.engine.fork_session(known.id, given, expected=len(known.heard))
        for copy, seed in zip(copies, given, strict=True):
            self.learn(copy, known.seed if seed is None else seed, list(known.heard), known.floor, known.ttl_s)

    @rule(who=whose, back=st.none() | st.integers(0, 60))
    def rewind(self, who: int, back: int | None) -> None:
        """Go some characters back; None goes to where the kept state is, which is then of no use."""
        known = self.look_up(who)
        if known is None:
            return
        if back is None:
            position = self.engine.session(known.id).consumed
        else:
            position = max(0, len(known.heard) - back % (len(known.heard) - known.floor + 2))
        if known.talk:
            with pytest.raises(SessionBusy):
                self.engine.rewind_session(known.id, position)
        elif position < known.floor:
            with pytest.raises(RewindOutOfRange):
                self.engine.rewind_session(known.id, position)
        else:
            self.engine.rewind_session(known.id, position, expected=len(known.history))
            del known.history[position:]
            self.use(known)

    @rule(who=whose)
    def take_out(self, who: int) -> None:
        if known := self.look_up(who):
            content = self.engine.take_out_session(known.id, expected=len(known.heard))
            assert list(content.pending) == known.heard[content.consumed :]
            counted = [known.heard[: content.consumed].count(token) for token in range(2 * SIZE)]
            assert [*content.fed, *content.generated] == counted
            then = Known(known.id, known.seed, list(known.heard), 0, known.ttl_s, 0.0)
            floor = self.engine.session(known.id).history.start
            assert floor == (content.consumed + 1 if content.consumed else 0)
            self.blobs.append(Blob(encode(content, KEYS), then, floor))

    @rule(which=st.integers(0, 100), is_fresh=st.booleans(), seed=st.none() | seeds, under_its_id=st.booleans())
    def put_in(self, which: int, is_fresh: bool, seed: int | None, under_its_id: bool) -> None:
        if is_fresh:
            self.take_out(which)
        if not self.blobs:
            return
        blob = self.blobs[-1 if is_fresh else which % len(self.blobs)]
        opened = open_snapshot(blob.data, KEYS, owner="")
        content = opened.unpack([self.served.host], accept_other_numerics=False)
        session_id = blob.known.id if under_its_id else None
        seed = None if under_its_id else seed
        replaced = self.known.get(session_id or "")
        if replaced and replaced.talk:
            with pytest.raises(SessionBusy):
                self.engine.registry.put_in(content, session_id=session_id)
        elif replaced or self.make_room(1):
            session = self.engine.registry.put_in(content, seed=seed, session_id=session_id)
            then = blob.known
            self.learn(session, then.seed if seed is None else seed, list(then.history), blob.floor, then.ttl_s)
        else:
            with pytest.raises(SlotsExhausted):
                self.engine.registry.put_in(content, seed=seed, session_id=session_id)

    @rule(who=whose)
    def delete(self, who: int) -> None:
        known = self.look_up(who)
        if known is None:
            return
        if known.talk:
            with pytest.raises(SessionBusy):
                self.engine.delete_session(known.id)
        else:
            self.engine.delete_session(known.id, expected=len(known.history))
            self.lose(known, SessionNotFound)

    @rule(who=whose, off=st.integers(1, 3))
    def expect_another_position(self, who: int, off: int) -> None:
        if known := self.look_up(who):
            elsewhere = len(known.heard) + off
            for call in (
                lambda: self.engine.rewind_session(known.id, 0, expected=elsewhere),
                lambda: self.engine.fork_session(known.id, [None], expected=elsewhere),
                lambda: self.engine.take_out_session(known.id, expected=elsewhere),
                lambda: self.engine.delete_session(known.id, expected=elsewhere),
            ):
                with pytest.raises(PositionMismatch):
                    call()

    # What happens to them.

    @rule(who=whose)
    def pack(self, who: int) -> None:
        if (known := self.look_up(who)) and known.talk is None:
            self.lane.residency.pack(self.engine.session(known.id))

    @rule(seconds=st.sampled_from((1.0, 30.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        for known in list(self.known.values()):
            if known.talk is None and known.expires <= self.clock.now:
                self.lose(known, SessionExpired)

    @rule()
    def restart(self) -> None:
        self.known, self.gone = {}, dict.fromkeys([*self.known, *self.gone], SessionNotFound)
        self.engine = Engine([self.served], self.settings, self.clock)

    # What must hold.

    @invariant()
    def what_is_counted_adds_up(self) -> None:
        sessions = self.engine.registry.page(0, 100)
        residency = self.lane.residency
        assert {session.id for session in sessions} == {*self.known}
        assert self.lane.sessions == len(self.engine.registry) == len(self.known)
        assert self.engine.streams == sum(known.talk is not None for known in self.known.values())
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
        for session in self.engine.registry.page(0, 100):
            known = self.known[session.id]
            told = self.engine.registry.describe(session)
            assert told.position == session.position == len(known.heard)
            assert told.is_busy == (known.talk is not None)
            assert told.seed == known.seed
            assert session.slot is not None or not told.is_busy
            assert told.tier is (Tier.PACKED if session.slot is None else Tier.RESIDENT)
            assert self.lane.residency.state_of(session)[0] == session.consumed  # the cell counts its steps
            self.check_floor(known, told.rewindable_from)

    def teardown(self) -> None:
        """Let every living session go on, and ask for those that are gone."""
        for session_id, reason in self.gone.items():
            with pytest.raises(reason):
                self.engine.session(session_id)
        for known in list(self.known.values()):
            if known.talk:
                self.engine.close(known.talk.stream)
                self.end_talk(known)
        for known in self.known.values():
            prompt = "" if known.history else "a"
            before = known.history or [0]
            sampling = SAMPLINGS[known.used % len(SAMPLINGS)]
            reader = generate(self.engine, prompt, 10, session_id=known.id, sampling=sampling)
            assert reader.text == self.say(before, 10, known.seed, sampling)

    # The owner's side.

    @property
    def lane(self) -> Lane:
        return self.engine.lanes[self.served.name]

    def pick(self, who: int) -> Known | None:
        return list(self.known.values())[who % len(self.known)] if self.known else None

    def look_up(self, who: int) -> Known | None:
        """Pick a session and look it up, which ends a stream on it that is over."""
        known = self.pick(who)
        if known is None:
            return None
        session = self.engine.session(known.id)
        if known.talk and known.talk.stream.is_closed:
            self.end_talk(known)
        self.check_floor(known, session.history.start)
        return self.known.get(known.id)

    def check_floor(self, known: Known, floor: int) -> None:
        """Let the server forget what lies behind the reach of rewinds, and nothing else."""
        assert floor == known.floor or len(known.heard) - floor >= REACH
        known.floor = floor

    def end_talk(self, known: Known) -> None:
        known.history, known.talk = known.heard, None
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
        idle = sorted((each for each in self.known.values() if each.talk is None), key=lambda each: each.used)
        idle = [each for each in idle if each is not sparing]
        excess = max(0, len(self.known) + number - SESSIONS)
        if excess > len(idle):
            return False
        for known in idle[:excess]:
            self.lose(known, SessionEvicted)
        return True

    def learn(self, session: Session, seed: int, history: list[int], floor: int, ttl_s: float) -> None:
        known = Known(session.id, seed, history, floor, ttl_s, self.clock.now + AGE_S)
        self.known[session.id] = known
        self.gone.pop(session.id, None)
        self.use(known)

    def say(self, history: list[int], length: int, seed: int, sampling: Sampling) -> str:
        said = continue_history(history, length, seed, size=SIZE, sharpness=SHARPNESS, sampling=sampling)
        return "".join(LETTERS[token] for token in said)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("machine") / "bundle"
    return load_bundle(write_bundle(folder, letters=LETTERS, sharpness=SHARPNESS))


def test_sessions_say_what_paper_says(bundle: Bundle) -> None:
    class Machine(SessionMachine):
        served = bundle

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

"""Whatever is done to sessions in whatever order: nobody ever sees a letter that paper does not say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.support.alphabet import write_bundle
from tests.support.loop import Reader, begin, generate, run_slice
from tests.support.paper import continue_history, find_stop, is_clear
from tests.support.session_machine import STREAMS, Known, SessionMachine, given_seeds, slices, whose
from unrolled_service.errors import InvalidField, PositionMismatch, QueueFull, SessionBusy
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.rows.row import Row
from unrolled_service.sessions.session import Session
from unrolled_service.snapshots.snapshot import Content

LETTERS = "abcdefghijk"
SIZE = len(LETTERS)
SHARPNESS = 2.0
EXAMPLES = 2000
SEEDS = [seed for seed in range(40) if is_clear(seed, 600, size=SIZE, sharpness=SHARPNESS)]
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.0, frequency_penalty=0.5, presence_penalty=0.25),
    Sampling(temperature=0.0, repetition_penalty=2.0, frequency_penalty=0.125, logit_bias=((3, 1.5), (7, 1.0))),
)

seeds = st.sampled_from(SEEDS)
prompts = st.text(LETTERS, max_size=4) | st.text(LETTERS, min_size=20, max_size=30)
characters = st.sampled_from((9, 0, 1, 2, 25, 40))


@dataclass
class Talk:
    """A stream, and what paper says of it."""

    row: Row
    reader: Reader
    prompt: list[int]
    text: str
    stop: str


Teller = Known[list[int], Talk]


class TextMachine(SessionMachine[list[int], Talk]):
    """Sessions of text, against lists of tokens."""

    @initialize(
        max_steps=st.sampled_from((6, 2, 16)),
        credit=st.sampled_from((8, 2, 64)),
        pasts=st.lists(st.integers(0, 40), min_size=1, max_size=2),
        sampling=st.sampled_from(SAMPLINGS),
    )
    def start(self, max_steps: int, credit: int, pasts: list[int], sampling: Sampling) -> None:
        self.open(max_steps, credit)
        for who, past in enumerate(pasts):
            self.create(who, 500.0)
            if past:
                self.converse(who, LETTERS, past, sampling, past)

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
            stream, _ = begin(
                self.engine, prompt, budget, reader=reader, expected_position=len(self.heard(known)), **options
            )
        except SessionBusy:
            assert known.talk
        except InvalidField:
            assert not prompt
            assert not known.past
        except QueueFull:
            assert self.talks == STREAMS
        else:
            assert known.talk is None
            fed = [LETTERS.index(letter) for letter in prompt]
            text = self.say(known.past + fed, budget, known.seed if seed is None else seed, sampling)
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
                assert (finish.stop, finish.position) == (talk.stop, len(self.heard(known)))

    @rule(who=whose, given=given_seeds)
    def fork(self, who: int, given: list[int | None]) -> None:
        self.make_forks(who, given)

    @rule(who=whose, off=st.integers(1, 3))
    def expect_another_position(self, who: int, off: int) -> None:
        if known := self.look_up(who):
            elsewhere = len(self.heard(known)) + off
            for call in (
                lambda: self.engine.rewind_session(known.id, 0, expected=elsewhere),
                lambda: self.engine.fork_session(known.id, [None], expected=elsewhere),
                lambda: self.engine.take_out_session(known.id, expected=elsewhere),
                lambda: self.engine.delete_session(known.id, expected=elsewhere),
            ):
                with pytest.raises(PositionMismatch):
                    call()

    def teardown(self) -> None:
        """Let every living session go on, and ask for those that are gone."""
        super().teardown()
        for known in self.known.values():
            prompt = "" if known.past else "a"
            sampling = SAMPLINGS[known.used % len(SAMPLINGS)]
            reader = generate(self.engine, prompt, 10, session_id=known.id, sampling=sampling)
            assert reader.text == self.say(known.past or [0], 10, known.seed, sampling)

    def begin_past(self) -> list[int]:
        return []

    def heard(self, known: Teller) -> list[int]:
        talk = known.talk
        if talk is None or not (talk.reader.text or talk.reader.finish):
            return known.past
        return known.past + talk.prompt + [SIZE + LETTERS.index(letter) for letter in talk.reader.text]

    def cut(self, past: list[int], position: int) -> list[int]:
        return past[:position]

    def check_content(self, known: Teller, content: Content) -> None:
        past = self.heard(known)
        assert list(content.pending) == past[content.consumed :]
        counted = [past[: content.consumed].count(token) for token in range(2 * SIZE)]
        assert [*content.fed, *content.generated] == counted

    def check_state(self, known: Teller, session: Session) -> None:
        del known
        assert self.lane.residency.state_of(session)[0] == session.consumed  # the cell counts its steps

    def seed_of(self, number: int) -> int:
        return SEEDS[number % len(SEEDS)]

    def say(self, history: list[int], length: int, seed: int, sampling: Sampling) -> str:
        said = continue_history(history, length, seed, size=SIZE, sharpness=SHARPNESS, sampling=sampling)
        return "".join(LETTERS[token] for token in said)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("machine") / "bundle"
    return load_bundle(write_bundle(folder, letters=LETTERS, sharpness=SHARPNESS))


def test_sessions_say_what_paper_says(bundle: Bundle) -> None:
    class Machine(TextMachine):
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

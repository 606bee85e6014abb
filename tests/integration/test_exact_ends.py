"""A session whose calls end anywhere goes on exactly where its caller was left, on a cell whose arithmetic matters.

The state of an LSTM is not a whole number that could be right by chance: a step too many, or one that is done twice,
shows in the text that follows.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.test_engine import make_engine
from tests.support.jobs import SAMPLINGS
from tests.support.loop import Reader, begin, generate, run, run_slice
from tests.support.lstm import LETTERS
from unrolled_service.engine import Engine
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.finish import FinishReason
from unrolled_service.sessions.session import Session

LENGTH = 150
MAX_STEPS = 64


@dataclass(frozen=True)
class End:
    """How a call ends, ``at`` characters of what was to come or, if that is less, at the last one.

    Attributes:
        kind: "length", "stop" or "cancel".
        at: 0 for a cancellation that comes before the first character, or a stop text that stands there.
        width: characters of the stop text, or slices that run after the last character that was heard.
        is_packed: the session's state leaves the arena afterwards.
    """

    kind: str
    at: int
    width: int
    is_packed: bool


ENDS = st.builds(
    End,
    kind=st.sampled_from(["length", "stop", "cancel"]),
    at=st.one_of(st.integers(0, 3), st.integers(0, 70)),
    width=st.integers(1, 4),
    is_packed=st.booleans(),
)


class Caller:
    """Asks for a text whose course is known, and ends calls early.

    Args:
        engine: where it runs.
        prompt: what comes before the text.
        whole: the text, from one uninterrupted run.
        seed: of that run.
        sampling: of that run.
    """

    def __init__(self, engine: Engine, prompt: str, whole: str, seed: int, sampling: Sampling) -> None:
        self.engine = engine
        self.session: Session = engine.create_session("", seed=seed, ttl_s=None)
        self.prompt = prompt
        self.left = whole
        self.position = 0
        self.sampling = sampling

    def ask(self, end: End) -> None:
        """Make a call that ends so, and look at where it leaves the session."""
        stop = self.left[end.at :][: end.width] or self.left[-1:]
        at = {"stop": self.left.find(stop), "length": max(end.at, 1), "cancel": end.at}[end.kind]
        at = min(at, len(self.left))
        budget = at if end.kind == "length" else len(self.left)
        heard, self.left = self.left[:at], self.left[at:]
        reader = Reader(is_eager=end.kind != "cancel")
        row, _ = begin(
            self.engine,
            self.prompt,
            budget,
            reader=reader,
            session_id=self.session.id,
            expected_position=self.position,
            sampling=self.sampling,
            stops=(stop,) if end.kind == "stop" else (),
        )
        if end.kind == "cancel":
            while len(reader.text) < len(heard):
                run_slice(self.engine)
                reader.hear(len(heard) - len(reader.text))
            for _ in range(end.width):
                run_slice(self.engine)
        else:
            run(self.engine)
            assert reader.finish.reason is (FinishReason.STOP if end.kind == "stop" else FinishReason.LENGTH)
        self.engine.close(row)
        assert reader.text == heard
        if heard or reader.finish:
            self.position, self.prompt = self.position + len(self.prompt) + len(heard), ""
        assert self.session.position == self.position
        if end.is_packed:
            self.engine.lanes["lstm"].residency.pack(self.session)


@settings(max_examples=150)
@given(
    ends=st.lists(ENDS, min_size=1, max_size=6),
    prompt=st.text(LETTERS, min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    sampling=st.sampled_from(SAMPLINGS),
    steps=st.sampled_from([1, 2, 5, 16, MAX_STEPS]),
    credit=st.sampled_from([2, 16, 256]),
)
def test_a_session_goes_on_exactly_where_a_call_was_ended(
    lstm: Bundle, ends: list[End], prompt: str, seed: int, sampling: Sampling, steps: int, credit: int
) -> None:
    whole = generate(make_engine(lstm), prompt, LENGTH, seed=seed, sampling=sampling).text
    engine = make_engine(lstm, max_steps=MAX_STEPS, credit=credit, rewind_tokens=16)
    caller = Caller(engine, prompt, whole, seed, sampling)

    with pytest.MonkeyPatch.context() as patch:  # so that calls end in the middle of a slice, whatever a step takes
        patch.setattr(engine.lanes["lstm"].scheduler, "steps", lambda *_: steps)
        for end in ends:
            if caller.left:
                caller.ask(end)
        if caller.left:
            caller.ask(End("length", len(caller.left), 1, is_packed=False))

    assert engine.streams == 0

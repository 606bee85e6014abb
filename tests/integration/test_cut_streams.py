"""A stream that is cut anywhere, and the next call at once: the text goes on behind what was delivered.

The first turn breaks off after its first pieces, or before them, and the second follows without a pause. What was
computed and never delivered must leave no trace: in the state, in the position, or in what penalties count.
"""

import random
from collections.abc import Callable

import pytest

from tests.integration.test_engine import make_engine
from tests.support.alphabet import CERTAIN, greedy_text
from tests.support.loop import Reader, begin, generate, run_slice
from tests.support.paper import continue_history
from unrolled_service.engine import Engine
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle
from unrolled_service.sessions.session import Session

CUTS = 1000
PENALIZED = Sampling(temperature=0.0, frequency_penalty=15.0, presence_penalty=0.5, repetition_penalty=2.0)
NEIGHBOURS = 3


def paper(history: str, generated: set[int], length: int, sampling: Sampling) -> str:
    """Return what follows a history, of which the places of generated letters are known."""
    tokens = [ord(letter) - ord("a") + 26 * (place in generated) for place, letter in enumerate(history)]
    said = continue_history(tokens, length, 0, size=26, sharpness=CERTAIN, sampling=sampling)
    return "".join(chr(token + ord("a")) for token in said)


class Caller:
    """Holds a session, remembers what it was told, and breaks off at random."""

    def __init__(self, engine: Engine, session: Session, chance: random.Random, sampling: Sampling) -> None:
        self.engine = engine
        self.session = session
        self.chance = chance
        self.sampling = sampling
        self.history = ""
        self.generated: set[int] = set()

    def cut_a_turn(self) -> int:
        """Begin a turn and break it off; return how much of it was heard."""
        chance, start = self.chance, len(self.history)
        prompt = "".join(chance.choices("hello", k=chance.choice((1, 2, 5, 40))))
        reader = Reader(is_eager=False)
        stream, _ = begin(
            self.engine,
            prompt,
            chance.randint(1, 80),
            reader=reader,
            session_id=self.session.id,
            expected_position=start,
            sampling=self.sampling,
        )
        for _ in range(chance.randint(0, 6)):
            run_slice(self.engine)
            if chance.random() < 0.5:
                reader.hear(chance.choice((1, 3, 20, 100)))
        self.engine.close(stream)
        heard = reader.text
        assert heard == paper(self.history + prompt, self.generated, len(heard), self.sampling)
        if heard:
            self.history += prompt + heard
            self.generated |= {*range(len(self.history) - len(heard), len(self.history))}
        assert self.session.position == len(self.history)
        return len(heard)

    def pack_somebody(self) -> None:
        """Let sessions that nobody uses go out of the arena, as when others need their place."""
        residency = self.engine.lanes["alphabet"].residency
        if self.session.row is None and self.chance.random() < 0.3:
            residency.pack(self.session)


def run_cuts(engine: Engine, chance: random.Random, sampling: Sampling, cuts: int) -> int:
    """Cut so many turns of several callers, each with a neighbour that goes on; return how many were heard."""
    callers = [
        Caller(engine, engine.create_session("", seed=1, ttl_s=None), chance, sampling) for _ in range(NEIGHBOURS)
    ]
    heard = 0
    for _ in range(cuts):
        caller = chance.choice(callers)
        heard += caller.cut_a_turn() > 0
        caller.pack_somebody()
    for caller in callers:
        prompt = "" if caller.history else "a"
        rest = generate(engine, prompt, 30, session_id=caller.session.id, sampling=sampling).text
        assert rest == paper(caller.history + prompt, caller.generated, 30, sampling)
    return heard


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), PENALIZED], ids=["greedy", "penalized"])
@pytest.mark.parametrize("part", range(10))
def test_a_thousand_cuts(alphabet: Bundle, part: int, sampling: Sampling) -> None:
    chance = random.Random(part)
    engine = make_engine(
        alphabet,
        max_steps=chance.choice((1, 2, 5, 16, 64)),
        credit=chance.choice((2, 8, 64)),
        max_streams=2,
        slots=2,
        rewind_tokens=16,
    )

    heard = run_cuts(engine, chance, sampling, CUTS // 10)

    assert CUTS // 40 < heard < CUTS // 10  # some break off before anything is heard
    assert engine.streams == 0


Ending = Callable[[Engine, Session], Session]


def stay(_: Engine, session: Session) -> Session:
    return session


def pack(engine: Engine, session: Session) -> Session:
    engine.lanes["alphabet"].residency.pack(session)
    return session


def copy(engine: Engine, session: Session) -> Session:
    return engine.fork_session(session.id, [None])[0]


def move(engine: Engine, session: Session) -> Session:
    return engine.registry.put_in(engine.take_out_session(session.id), session_id=session.id)


@pytest.mark.parametrize("ending", [stay, pack, copy, move])
@pytest.mark.parametrize("cut", [0, 1, 2, 15, 16, 17, 31, 32, 33, 59, 60])
def test_turn_two_follows_a_cut_at_once(alphabet: Bundle, cut: int, ending: Ending) -> None:
    engine = make_engine(alphabet, max_steps=16, credit=8, rewind_tokens=16)
    session = engine.create_session("", seed=1, ttl_s=None)
    reader = Reader(is_eager=False)
    stream, _ = begin(engine, "hello", 60, reader=reader, session_id=session.id)
    while len(reader.text) < cut:
        run_slice(engine)
        reader.hear(cut - len(reader.text))
    run_slice(engine)  # what comes too late
    engine.close(stream)

    session = ending(engine, session)
    history = "hello" + reader.text if cut else ""
    second = generate(engine, "again", 30, session_id=session.id, expected_position=len(history))

    assert reader.text == greedy_text("hello", cut)
    assert second.text == greedy_text(history + "again", 30)

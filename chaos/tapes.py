"""What callers must hear: for each a whole history, prompts and answers, written down before anything goes wrong.

Texts of the alphabet cell are worked out on paper; those of the LSTM come from one server that nobody disturbs.
"""

import asyncio
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count
from pathlib import Path

from tests.support import alphabet, lstm, paper
from tests.support.server import running_server
from unrolled_client import AsyncClient, Sampling
from unrolled_service.graphs.sampling import Sampling as PaperSampling

ALPHABET, LSTM = "alphabet", "lstm"
SHARPNESS = 3.0  # often the rule, not always: seeds differ
# Cooler ones repeat themselves, and then a text that is out of place looks like one in place.
_LSTM_SAMPLINGS = (
    Sampling(temperature=1.5),
    Sampling(temperature=2, top_k=12),
    Sampling(temperature=2, top_p=0.9),
    Sampling(temperature=1.5, min_p=0.02),
    Sampling(temperature=1.5, repetition_penalty=1.25, frequency_penalty=0.25),
)
_READERS = 16


@dataclass(frozen=True)
class Part:
    """A prompt, and how many tokens follow it."""

    prompt: str
    length: int


@dataclass(frozen=True)
class Tape:
    """One history from position 0 to its end.

    Attributes:
        name: of the caller that hears it.
        model: bundle.
        seed: of its draws.
        sampling: of all its generations.
        parts: what is fed and how much is generated, in turn.
        text: all of it; the token at index i is taken at position i.
    """

    name: str
    model: str
    seed: int
    sampling: Sampling
    parts: tuple[Part, ...]
    text: str = ""

    @property
    def length(self) -> int:
        """Return the position at its end."""
        return sum(len(part.prompt) + part.length for part in self.parts)

    def prompt_at(self, position: int) -> str:
        """Return what has to be fed at a position before a token is generated."""
        begin, part = self._part_at(position)
        return part.prompt[position - begin :]

    def left_at(self, position: int) -> int:
        """Return how many tokens are generated from a position on before something is fed."""
        begin, part = self._part_at(position)
        return min(part.length, begin + len(part.prompt) + part.length - position)

    def _part_at(self, position: int) -> tuple[int, Part]:
        begins = [0, *accumulate(len(part.prompt) + part.length for part in self.parts)]
        index = min(bisect_right(begins, position) - 1, len(self.parts) - 1)
        return begins[index], self.parts[index]


def make_bundles(folder: Path) -> list[Path]:
    """Write the bundles that tapes are about, those that are not there yet; return their folders."""
    places = folder / ALPHABET, folder / LSTM
    if not places[0].exists():
        alphabet.write_bundle(places[0], sharpness=SHARPNESS)
    if not places[1].exists():
        lstm.write_lstm_bundle(places[1])
    return [*places]


def make_tapes(bundles: Sequence[Path], seed: int, callers: int, length: int) -> list[Tape]:
    """Return a tape for each caller, half of them about each bundle.

    Args:
        bundles: the folders that ``make_bundles`` returned.
        seed: the same one makes the same tapes.
        callers: how many.
        length: about how many tokens each has.
    """
    draw = random.Random(seed)
    blank = [_draw_tape(draw, f"caller-{number}", number % 2 == 0, length) for number in range(callers)]
    with running_server(bundles[1]) as server:
        heard = asyncio.run(_listen(server.address, [tape for tape in blank if tape.model == LSTM]))
    return [heard[tape.name] if tape.model == LSTM else replace(tape, text=_work_out(tape)) for tape in blank]


def _draw_tape(draw: random.Random, name: str, is_lstm: bool, length: int) -> Tape:
    letters = lstm.LETTERS if is_lstm else alphabet.LETTERS
    parts = draw.randint(1, 3)
    plan = [
        Part("".join(draw.choices(letters, k=draw.randint(1, 12))), draw.randint(length // 2, length) // parts)
        for _ in range(parts)
    ]
    tape = Tape(name, LSTM if is_lstm else ALPHABET, draw.getrandbits(64), Sampling(), tuple(plan))
    if is_lstm:
        return replace(tape, sampling=draw.choice(_LSTM_SAMPLINGS))
    tape = replace(tape, sampling=Sampling(temperature=draw.choice((0, 1, 1, 1))))
    return tape if not tape.sampling.temperature else replace(tape, seed=_clear_seed(tape))


def _clear_seed(tape: Tape) -> int:
    """Return the first seed from a tape's on of which no draw is decided by rounding."""
    size = len(alphabet.LETTERS)
    seeds = (seed % 2**64 for seed in count(tape.seed))
    return next(seed for seed in seeds if paper.is_clear(seed, tape.length, size=size, sharpness=SHARPNESS))


def _work_out(tape: Tape) -> str:
    letters, sampling = alphabet.LETTERS, PaperSampling(temperature=tape.sampling.temperature or 0.0)
    history: list[int] = []
    for part in tape.parts:
        history += [letters.index(letter) for letter in part.prompt]
        history += paper.continue_history(
            history, part.length, tape.seed, size=len(letters), sharpness=SHARPNESS, sampling=sampling
        )
    return "".join(letters[token] for token in history)


async def _listen(address: str, tapes: Sequence[Tape]) -> dict[str, Tape]:
    """Let an undisturbed server say what is on tapes."""
    turn = asyncio.Semaphore(_READERS)
    async with AsyncClient(address, resume=None) as client:

        async def listen(tape: Tape) -> Tape:
            text = ""
            async with turn, client.session(seed=tape.seed) as session:
                for part in tape.parts:
                    stream = session.generate(part.prompt, max_tokens=part.length, sampling=tape.sampling)
                    text += part.prompt + await stream.read()
            return replace(tape, text=text)

        return {tape.name: tape for tape in await asyncio.gather(*map(listen, tapes))}

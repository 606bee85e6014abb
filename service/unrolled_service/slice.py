"""What one slice did: the samples that its rows take their parts of, and what is told about it.

Written on the engine's thread, read on the event loop afterwards.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from unrolled_service.delivery import Delivery, Described
from unrolled_service.errors import UnrolledError
from unrolled_service.program import Outcome


@dataclass
class Slice:
    """One run of a lane's rows.

    Attributes:
        model: name of the bundle.
        rows: B, extent of the batch.
        steps: K, steps that every row ran.
        outcome: what the program gave.
        text: the samples as text, K x B characters, step by step.
        joined_at: engine time at which the rows were chosen.
        ended_at: engine time at which the samples were there.
        step_s: seconds of a step.
        pause_s: text of a stream that had news less than this ago waits for more,
        bulk: until there are so many characters of it.
        prompt_tokens: tokens fed from callers' texts.
        generated_tokens: sampled tokens handed to callers.
        queue_waits_s: waits of the rows that ran for the first time.
        first_tokens_s: waits of the streams that got their first token, from arrival.
        gaps: how many streams got their next n tokens after those of time t, by (t, n).
        deliveries: news, in row order; a row without news has none.
        stages_s: seconds of the beats by name.
    """

    model: str
    rows: int
    steps: int
    outcome: Outcome
    text: str
    joined_at: float
    ended_at: float
    step_s: float
    pause_s: float
    bulk: int
    prompt_tokens: int = 0
    generated_tokens: int = 0
    queue_waits_s: list[float] = field(default_factory=list)
    first_tokens_s: list[float] = field(default_factory=list)
    gaps: Counter[tuple[float, int]] = field(default_factory=Counter)
    deliveries: list[Delivery] = field(default_factory=list)
    stages_s: dict[str, float] = field(default_factory=dict)

    def text_of(self, row: int, first: int, end: int) -> str:
        """Return the samples of a row from step ``first`` to ``end``."""
        return self.text[row + first * self.rows : end * self.rows : self.rows]

    @cached_property
    def columns(self) -> list[list[int]]:
        """The tokens of each row."""
        return self.outcome.tokens.T.tolist()  # type: ignore[no-any-return]

    def describe(self, row: int, first: int, end: int, count: int) -> list[Described]:
        """Describe the steps of a row from ``first`` to ``end``, with ``count`` most probable tokens each."""
        found = self.outcome.descriptions
        if found is None:
            raise UnrolledError("a row asked for log-probabilities that were not computed")
        chosen = found.chosen[first:end, row].tolist()
        tops = found.top[first:end, row, :count].tolist()
        tokens = found.top_tokens[first:end, row, :count].tolist()
        return [Described(c, list(zip(t, p, strict=True))) for c, t, p in zip(chosen, tokens, tops, strict=True)]

    def note_tokens(self, count: int, before: float | None, arrived: float) -> None:
        """Take in that a stream got tokens: its first ones, or those after the ones of a time before."""
        if before is not None:
            self.gaps[before, count] += 1
        else:
            self.first_tokens_s.append(self.ended_at - arrived)
            self.gaps[self.ended_at - self.step_s * (count - 1), count - 1] += 1

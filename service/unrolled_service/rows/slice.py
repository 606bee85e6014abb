"""What one slice did: the samples that its rows take their parts of, and what is told about it.

Written on the engine's thread; a ``Slice`` is read on the event loop afterwards.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_service.errors import UnrolledError
from unrolled_service.graphs.program import Descriptions, Tokens
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Delivery, Described
from unrolled_service.sessions.history import Format


@dataclass
class Samples:
    """What a run gave its rows.

    Attributes:
        tokens: int64[K, B].
        descriptions: their log-probabilities, or None.
        text: the tokens as text, K x B characters, step by step.
        ended_at: engine time at which they were there.
        step_s: seconds of a step.
        traced: int64[N], places of the state that the steps report, ascending; None where nobody asked.
        trace: f32[K, B, N], what is there after each step, or None.
    """

    tokens: Tokens
    descriptions: Descriptions | None
    text: str
    ended_at: float
    step_s: float
    traced: Tokens | None = None
    trace: Floats | None = None

    def __post_init__(self) -> None:
        self.steps: int = self.tokens.shape[0]
        self.rows: int = self.tokens.shape[1]
        self._items: NDArray[Any] | None = None

    def text_of(self, row: int, first: int, end: int) -> str:
        """Return the samples of a row from step ``first`` to ``end``."""
        return self.text[row + first * self.rows : end * self.rows : self.rows]

    def items(self, form: Format) -> NDArray[Any]:
        """Return the tokens as histories keep what was generated, [B, K]; made once, for all rows."""
        if self._items is None:
            self._items = np.ascontiguousarray(self.tokens.T + form.vocabulary_size, form.typecode)
        return self._items

    def describe(self, row: int, first: int, end: int, *, count: int | None, traced: Tokens) -> list[Described]:
        """Describe the steps of a row from ``first`` to ``end``.

        Args:
            row: its place.
            first: the first step.
            end: the step after the last one.
            count: how many of the most probable tokens to name; None leaves probabilities out.
            traced: places of the state to report.
        """
        described = [Described(math.nan, ())] * (end - first) if count is None else self._rank(row, first, end, count)
        if not len(traced):
            return described
        if self.traced is None or self.trace is None:
            raise UnrolledError("a row asked for activations that were not computed")
        activations = self.trace[first:end, row, np.searchsorted(self.traced, traced)].tolist()
        return [each._replace(activations=units) for each, units in zip(described, activations, strict=True)]

    def _rank(self, row: int, first: int, end: int, count: int) -> list[Described]:
        found = self.descriptions
        if found is None:
            raise UnrolledError("a row asked for log-probabilities that were not computed")
        i = int(np.searchsorted(found.rows, row))
        chosen = found.chosen[first:end, i].tolist()
        tops = found.top[first:end, i, :count].tolist()
        tokens = found.top_tokens[first:end, i, :count].tolist()
        return [Described(c, list(zip(t, p, strict=True))) for c, t, p in zip(chosen, tokens, tops, strict=True)]


@dataclass(slots=True)
class Slice:
    """The record of one slice.

    Attributes:
        model: name of the bundle.
        rows: B, extent of the batch.
        steps: K, steps that every row ran.
        prompt_tokens: tokens fed from callers' texts.
        generated_tokens: sampled tokens handed to callers.
        queue_waits_s: waits of the rows that ran for the first time.
        first_tokens_s: waits of the streams that got their first token, from arrival.
        gaps: how many tokens came so many seconds after those before them, spread evenly over each slice.
        deliveries: news; a row without news has none.
        stages_s: seconds of the beats by name.
    """

    model: str
    rows: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    queue_waits_s: list[float] = field(default_factory=list)
    first_tokens_s: list[float] = field(default_factory=list)
    gaps: defaultdict[float, int] = field(default_factory=lambda: defaultdict(int))
    deliveries: list[Delivery] = field(default_factory=list)
    stages_s: dict[str, float] = field(default_factory=dict)

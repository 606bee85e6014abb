"""Runs a program: one call advances a batch of rows by K steps.

It knows tensors, not rows' owners. Runs are synchronous and release the GIL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from unrolled_service.graphs.graph import ASKED_NUMBERS, compose_program
from unrolled_service.graphs.runtime import Graph
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.state import Floats, StateSpec, initial_state

Tokens = NDArray[np.int64]

NOT_FORCED = -1


@dataclass(frozen=True, slots=True)
class Extras:
    """What the rows of a batch that ask for more than a temperature need besides: D of its B rows.

    Attributes:
        rows: int64[D], where they stand in the batch, ascending.
        sampling: one for each of them.
        generated: f32[D, V], how often each token was generated; None where none of them penalizes.
        fed: f32[D, V], how often each was fed from a prompt; None where none of them penalizes.
        target: int64[K, D], tokens to describe, -1 for the one chosen; None describes nothing.
        described: how many of the most probable tokens to describe beside the target.
        traced: int64[N], places in a row of the state to report after each step; None reports nothing.
    """

    rows: Tokens
    sampling: Sequence[Sampling]
    generated: Floats | None = None
    fed: Floats | None = None
    target: Tokens | None = None
    described: int = 0
    traced: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of one run of B rows over K steps.

    Attributes:
        token: int64[B], the last sample of each row: its input where nothing is forced.
        forced: int64[K, B]: ``NOT_FORCED`` feeds the last sample, t below V a token of a prompt, V + t a
            token that was generated before.
        position: int64[B], tokens in the row's history before step 0 draws.
        seed: uint64[B].
        temperature: f32[B, 1]; 0 takes the most probable token.
        extras: None where no row asks for more.
    """

    token: Tokens
    forced: Tokens
    position: Tokens
    seed: NDArray[np.uint64]
    temperature: Floats
    extras: Extras | None = None


@dataclass(frozen=True, slots=True)
class Descriptions:
    """Log-probabilities of a run's steps, for the rows that ask.

    Attributes:
        rows: int64[D], where those stand in the batch, ascending.
        chosen: f32[K, D], of each step's target.
        top: f32[K, D, N], the highest ones, descending.
        top_tokens: int64[K, D, N], their tokens.
    """

    rows: Tokens
    chosen: Floats
    top: Floats
    top_tokens: Tokens


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives; fresh arrays.

    Attributes:
        tokens: int64[K, B], the token chosen at each step.
        state: f32[B, S], the new states.
        descriptions: None unless the batch asked for them.
        trace: f32[K, B, N], the numbers of the state that were asked for, after each step; None if none were.
    """

    tokens: Tokens
    state: Floats
    descriptions: Descriptions | None = None
    trace: Floats | None = None


class Program:
    """A cell compiled with the sampler, in two forms: one for batches without extras, one for the others.

    Args:
        cell: the checked single-step model.
        states: its states in order.
        vocabulary_size: V, the width of its logits.
        threads: threads inside one operator; 1 has no pool and no spinning.

    Attributes:
        initial: f32[S], the state at position 0: every state tensor flattened, one behind the other.

    Raises:
        ProgramError: the cell cannot be compiled.
    """

    def __init__(
        self, cell: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int, *, threads: int = 1
    ) -> None:
        self.initial = initial_state(states)
        self._vocabulary_size = vocabulary_size

        def compile_form(*, is_plain: bool) -> Graph:
            return Graph(compose_program(cell, states, vocabulary_size, is_plain=is_plain), threads=threads)

        self._plain, self._full = compile_form(is_plain=True), compile_form(is_plain=False)

    def run(self, batch: Batch, state: Floats) -> Outcome:
        """Advance every row by K steps.

        A row's result depends on its own column alone, never on its neighbours, B or K.

        Args:
            batch: inputs of the rows.
            state: f32[B, S].
        """
        feeds: dict[str, NDArray[Any]] = {
            "state": state,
            "token": batch.token,
            "forced": batch.forced,
            "seed": batch.seed.view(np.int64),
            "position": batch.position,
            "temperature": batch.temperature,
        }
        if batch.extras is None:
            tokens, new_state = self._plain.run(_PLAIN_OUTPUTS, feeds)
            return Outcome(tokens, new_state)
        feeds |= self._extra_feeds(batch.extras, len(batch.forced))
        tokens, new_state, *descriptions, trace = self._full.run(_FULL_OUTPUTS, feeds)
        return Outcome(
            tokens,
            new_state,
            Descriptions(batch.extras.rows, *descriptions) if batch.extras.target is not None else None,
            trace if batch.extras.traced is not None else None,
        )

    def _extra_feeds(self, extras: Extras, steps: int) -> dict[str, NDArray[Any]]:
        sampling, last, rows = extras.sampling, self._vocabulary_size - 1, len(extras.sampling)
        numbers = np.array([each.numbers for each in sampling], np.float32)
        adjusts = any(each.adjusts for each in sampling)
        unused = np.zeros((rows, 1), np.float32)
        return {
            "asking": extras.rows,
            **{name: numbers[:, i : i + 1] for i, name in enumerate(ASKED_NUMBERS)},
            "top_k": np.array([[min(each.top_k - 1, last) if each.top_k else last] for each in sampling], np.int64),
            "bias": self._bias(sampling) if adjusts else unused,
            "generated": self._counts(extras.generated, rows) if adjusts else unused,
            "fed": self._counts(extras.fed, rows) if adjusts else unused,
            "target": np.empty((steps, 0), np.int64) if extras.target is None else extras.target,
            "described": np.array([extras.described], np.int64),
            "traced": np.empty(0, np.int64) if extras.traced is None else extras.traced,
            "adjust": np.array(adjusts),
            "truncate": np.array(any(each.truncates for each in sampling)),
            "describe": np.array(extras.target is not None),
            "trace": np.array(extras.traced is not None),
        }

    def _bias(self, sampling: Sequence[Sampling]) -> Floats:
        bias = np.zeros((len(sampling), self._vocabulary_size), np.float32)
        for row, each in zip(bias, sampling, strict=True):
            for token, amount in each.logit_bias:
                row[token] = amount
        return bias

    def _counts(self, counts: Floats | None, rows: int) -> Floats:
        return np.zeros((rows, self._vocabulary_size), np.float32) if counts is None else counts


_PLAIN_OUTPUTS = ["tokens", "new_state"]
_FULL_OUTPUTS = [*_PLAIN_OUTPUTS, "chosen", "top", "top_tokens", "trace_values"]

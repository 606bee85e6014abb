"""Runs a program: one call advances a batch of rows by K steps.

The only module that imports onnxruntime. It knows tensors, not rows' owners. Runs are synchronous
and release the GIL.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from unrolled_service.arena import States, StateSpec
from unrolled_service.graph import ROW_SETTINGS, compose_program
from unrolled_service.sampling import Sampling

Tokens = NDArray[np.int64]
Floats = NDArray[np.float32]

NOT_FORCED = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of one run of B rows over K steps.

    Attributes:
        token: int64[B], the last sample of each row: its input where nothing is forced.
        forced: int64[K, B]: ``NOT_FORCED`` feeds the last sample, t below V a token of a prompt, V + t a
            token that was generated before.
        position: int64[B], tokens in the row's history before step 0 draws.
        seed: uint64[B].
        sampling: one a row.
        generated: f32[B, V], how often each token was generated; needed only where a row penalizes.
        fed: f32[B, V], how often each was fed from a prompt; needed only where a row penalizes.
        target: int64[K, B], tokens to describe, -1 for the one chosen; None describes nothing.
        described: how many of the most probable tokens to describe beside the target.
    """

    token: Tokens
    forced: Tokens
    position: Tokens
    seed: NDArray[np.uint64]
    sampling: Sequence[Sampling]
    generated: Floats | None = None
    fed: Floats | None = None
    target: Tokens | None = None
    described: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives, step by step; fresh arrays.

    Attributes:
        tokens: int64[K, B], the token chosen at each step.
        states: the new states, one ``[B, *shape]`` array each.
        chosen: f32[K, B], log-probability of each step's target; empty unless described.
        top: f32[K, B, N], the highest log-probabilities, descending; empty unless described.
        top_tokens: int64[K, B, N], their tokens.
    """

    tokens: Tokens
    states: States
    chosen: Floats
    top: Floats
    top_tokens: Tokens


class ProgramError(Exception):
    """The runtime does not take a cell; the message is the runtime's."""


class Program:
    """A cell compiled with the sampler.

    Args:
        cell: the checked single-step model.
        states: its states in order.
        vocabulary_size: V, the width of its logits.
        threads: threads inside one operator; 1 has no pool and no spinning.

    Raises:
        ProgramError: the cell cannot be compiled.
    """

    def __init__(
        self, cell: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int, *, threads: int = 1
    ) -> None:
        self._states = tuple(states)
        self._vocabulary_size = vocabulary_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # patterns are cached per batch size and never freed
        options.log_severity_level = 3
        try:
            model = compose_program(cell, states, vocabulary_size).SerializeToString()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no common class
            raise ProgramError(str(error)) from error
        self._outputs = ["tokens", "chosen", "top", "top_tokens", *(state.output for state in states)]

    def run(self, batch: Batch, states: States) -> Outcome:
        """Advance every row by K steps.

        A row's result depends on its own column alone, never on its neighbours, B or K.

        Args:
            batch: inputs of the rows.
            states: one ``[B, *shape]`` array per state.
        """
        tokens, chosen, top, top_tokens, *new = self._session.run(self._outputs, self._feeds(batch, states))
        return Outcome(tokens, new, chosen, top, top_tokens)

    def _feeds(self, batch: Batch, states: States) -> dict[str, NDArray[np.generic]]:
        steps, rows = batch.forced.shape
        sampling, last = batch.sampling, self._vocabulary_size - 1
        numbers = np.array([each.numbers for each in sampling], np.float32)
        adjusts = any(each.adjusts for each in sampling)
        unused = np.zeros((rows, 1), np.float32)
        return {
            "token": batch.token,
            "forced": batch.forced,
            "seed": batch.seed.view(np.int64),
            "position": batch.position,
            **{name: numbers[:, i : i + 1] for i, name in enumerate(ROW_SETTINGS)},
            "top_k": np.array([[min(each.top_k - 1, last) if each.top_k else last] for each in sampling], np.int64),
            "bias": self._bias(sampling) if adjusts else unused,
            "generated": self._counts(batch.generated, rows) if adjusts else unused,
            "fed": self._counts(batch.fed, rows) if adjusts else unused,
            "target": np.empty((steps, 0), np.int64) if batch.target is None else batch.target,
            "described": np.array([batch.described], np.int64),
            "adjust": np.array(adjusts),
            "truncate": np.array(any(each.truncates for each in sampling)),
            "describe": np.array(batch.target is not None),
            **{spec.input: state for spec, state in zip(self._states, states, strict=True)},
        }

    def _bias(self, sampling: Sequence[Sampling]) -> Floats:
        bias = np.zeros((len(sampling), self._vocabulary_size), np.float32)
        for row, each in zip(bias, sampling, strict=True):
            for token, amount in each.logit_bias:
                row[token] = amount
        return bias

    def _counts(self, counts: Floats | None, rows: int) -> Floats:
        return np.zeros((rows, self._vocabulary_size), np.float32) if counts is None else counts

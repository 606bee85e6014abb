"""Runs a program: one call advances a batch of rows by K steps.

The only module that imports onnxruntime. It knows tensors, not rows' owners. Runs are synchronous
and release the GIL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from unrolled_service.arena import States, StateSpec
from unrolled_service.graph import compose_program
from unrolled_service.sampling import Sampling, uniform

NOT_FORCED = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of one run of B rows over K steps.

    Attributes:
        token: int64[B], the last sample of each row: its input where nothing is forced.
        forced: int64[K, B], tokens to feed; ``NOT_FORCED`` where the last sample is the input.
        position: int64[B], tokens in the row's history before step 0 draws.
        seed: uint64[B].
        sampling: one a row.
    """

    token: NDArray[np.int64]
    forced: NDArray[np.int64]
    position: NDArray[np.int64]
    seed: NDArray[np.uint64]
    sampling: Sequence[Sampling]


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
        self._outputs = ["tokens", *(state.output for state in states)]

    def run(self, batch: Batch, states: States) -> tuple[NDArray[np.int64], States]:
        """Advance every row by K steps.

        A row's result depends on its own column alone, never on its neighbours, B or K.

        Args:
            batch: inputs of the rows.
            states: one ``[B, *shape]`` array per state.

        Returns:
            The token chosen at each step, int64[K, B], and fresh arrays of the new states.
        """
        tokens, *new = self._session.run(self._outputs, self._feeds(batch, states))
        return tokens, new

    def _feeds(self, batch: Batch, states: States) -> Mapping[str, NDArray[np.generic]]:
        steps = np.arange(batch.forced.shape[0], dtype=np.uint64)[:, None]
        sampling = batch.sampling
        last = self._vocabulary_size - 1
        return {
            "token": batch.token,
            "forced": batch.forced,
            "uniform": uniform(batch.seed, batch.position.astype(np.uint64) + steps),
            "temperature": np.array([each.temperature for each in sampling], np.float32),
            "truncate": np.array(any(each.truncates for each in sampling)),
            "top_k": np.array([min(each.top_k - 1, last) if each.top_k else last for each in sampling], np.int64),
            "top_p": np.array([each.top_p for each in sampling], np.float32),
            "min_p": np.array([each.min_p for each in sampling], np.float32),
            **{spec.input: state for spec, state in zip(self._states, states, strict=True)},
        }

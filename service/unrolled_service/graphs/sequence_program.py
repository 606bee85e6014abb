"""Runs a cell over sequences: one call advances a batch of rows by up to K steps each.

It knows tensors, not rows' owners. Runs are synchronous and release the GIL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from unrolled_service.graphs.runtime import Graph
from unrolled_service.graphs.sequence_graph import Ports, compose_sequence
from unrolled_service.graphs.state import Floats, StateSpec, initial_state


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """The arguments of one run of B rows over K steps.

    Attributes:
        inputs: int64[K, B], tokens, or f32[K, B, F], vectors; what a row does not take is zeros.
        steps: int64[B], steps that a row takes; after those its state and ``last`` stay as they are.
        forced: int64[B], at steps below this a row is fed ``inputs``, from then on its own last output; equal to
            ``steps`` where outputs are not fed back.
        last: f32[B, F], the output that is fed at step 0 if that is not forced; f32[B, 0] where none is fed back.
        traced: int64[N], places in a row of the state to report after each step; empty reports nothing.
    """

    inputs: NDArray[Any]
    steps: NDArray[np.int64]
    forced: NDArray[np.int64]
    last: Floats
    traced: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SequenceOutcome:
    """What a run gives; fresh arrays.

    Attributes:
        outputs: f32[K, B, O], whatever it may be past a row's steps; O is 0 where the cell gives no output.
        state: f32[B, S], the new states.
        last: f32[B, F], each row's last output, to feed to its next step; f32[B, 0] where none is fed back.
        trace: f32[K, B, N], the numbers of the state that were asked for, after each step.
    """

    outputs: Floats
    state: Floats
    last: Floats
    trace: Floats


class SequenceProgram:
    """A cell compiled without a sampler.

    Args:
        cell: the checked single-step model.
        states: its states in order; there may be none.
        input_width: F of the vectors that it takes; 0 for tokens.
        output: name of its output, "logits" or "output"; empty where it gives nothing but states.
        output_width: O, the output's width; 0 without one.
        feeds_back: whether outputs are fed as the next inputs; only with vectors, F = O.
        threads: threads inside one operator; 1 has no pool and no spinning.

    Attributes:
        initial: f32[S], the state at position 0: every state tensor flattened, one behind the other.
        input_width: as given.
        output_width: as given.
        feeds_back: as given.

    Raises:
        ProgramError: the cell cannot be compiled.
    """

    def __init__(
        self,
        cell: onnx.ModelProto,
        states: Sequence[StateSpec],
        *,
        input_width: int,
        output: str,
        output_width: int,
        feeds_back: bool,
        threads: int = 1,
    ) -> None:
        self.initial = initial_state(states)
        self.input_width, self.output_width = input_width, output_width
        self.feeds_back = feeds_back
        self._outputs = [
            *(["outputs"] if output else []),
            *(["new_state", "trace_values"] if states else []),
            *(["new_last"] if feeds_back else []),
        ]
        ports = Ports(input_width, output, output_width, feeds_back)
        self._graph = Graph(compose_sequence(cell, states, ports), threads=threads)

    def run(self, batch: SequenceBatch, state: Floats) -> SequenceOutcome:
        """Advance every row by its steps.

        A row's result depends on its own column alone, never on its neighbours, B or K.

        Args:
            batch: inputs of the rows; K is at least 1.
            state: f32[B, S].

        Raises:
            ProgramError: the runtime cannot run the cell on these inputs.
        """
        steps, rows = batch.inputs.shape[:2]
        feeds: dict[str, NDArray[Any]] = {"inputs": batch.inputs, "steps": batch.steps}
        if len(self.initial):
            feeds |= {"state": state, "traced": batch.traced, "trace": np.array(len(batch.traced) > 0)}
        if self.feeds_back:
            feeds |= {"forced": batch.forced, "last": batch.last}
        given = dict(zip(self._outputs, self._graph.run(self._outputs, feeds), strict=True))
        none = np.empty((rows, 0), np.float32)
        nothing = np.empty((steps, rows, 0), np.float32)
        return SequenceOutcome(
            outputs=given.get("outputs", nothing),
            state=given.get("new_state", none),
            last=given.get("new_last", none),
            trace=given["trace_values"] if len(batch.traced) else nothing,
        )

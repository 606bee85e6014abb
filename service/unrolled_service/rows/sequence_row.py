"""A row whose outputs are no tokens: labels' logits, vectors, or nothing but a state.

``reading``, ``drawing`` and ``source`` give such rows a purpose. Runs on the engine's thread.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_service.graphs.program import Tokens
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Answer, Sink
from unrolled_service.rows.row import Row
from unrolled_service.rows.slice import Slice
from unrolled_service.rows.text_row import NOTHING
from unrolled_service.sessions.session import Session

Inputs = NDArray[Any]
"""int64[N] tokens or f32[N, F] vectors."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a slice gave one row.

    Attributes:
        outputs: f32[k, O], of the steps it took.
        trace: f32[k, N], the places that it asked for, after each.
        ended_at: engine time at which they were there.
        step_s: seconds of a step.
    """

    outputs: Floats
    trace: Floats
    ended_at: float
    step_s: float

    def answers(self, first: int = 0) -> list[Answer]:
        """Return the outputs from a step on."""
        given = zip(self.outputs[first:].tolist(), self.trace[first:].tolist(), strict=True)
        return [Answer(values, activations) for values, activations in given]


class SequenceRow(Row):
    """The progress of one call whose outputs are no tokens.

    Attributes:
        last: f32[F], the output that is fed back next; f32[0] where none is.
        traced: int64[N], places of the state that each step reports.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        forced: Inputs,
        arrived: float,
        last: Floats,
        traced: Tokens = NOTHING,
        is_hurried: bool = False,
    ) -> None:
        super().__init__(
            sink,
            lane=lane,
            session=session,
            forced=forced,
            arrived=arrived,
            width=forced.shape[1] if forced.ndim == 2 else 0,
            is_hurried=is_hurried,
        )
        self.last = last
        self.traced = traced

    @property
    def feeds_back(self) -> bool:
        """Whether it goes on with its own outputs once the inputs are fed."""
        return len(self.last) > 0

    @abstractmethod
    def take(self, part: Part, record: Slice) -> None:
        """Take what a slice gave; ``state`` and ``last`` are set already.

        Args:
            part: of as many steps as it ran.
            record: into which it writes what it counts.
        """

    def _advance(self, steps: int) -> int:
        """Note that the state has taken more inputs; return how many of them were forced."""
        fed = min(steps, len(self.forced))
        self.consumed += steps
        self.forced = self.forced[fed:]
        return fed


def with_pending(session: Session | None, inputs: Inputs) -> Inputs:
    """Return the inputs behind those that a session's state has not taken."""
    if session is None or not (pending := session.pending):
        return inputs
    return np.concatenate([np.array(pending, inputs.dtype).reshape(-1, *inputs.shape[1:]), inputs])

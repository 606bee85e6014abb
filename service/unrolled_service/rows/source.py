"""The source of a transduction: an encoder reads it, and its last state is the context that starts the decoder.

Runs on the engine's thread.
"""

from collections.abc import Callable

import numpy as np

from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Delivery, Sink
from unrolled_service.rows.sequence_row import Inputs, Part, SequenceRow
from unrolled_service.rows.slice import Slice


class Source(SequenceRow):
    """The progress of an encoder.

    Args:
        inputs: int64[N] or f32[N, F], at least one.
        sink: of the call; nothing but a failure goes there.
        on_read: called with the context, f32[S], once everything is read.
        lane, arrived: as in ``Row``.
    """

    def __init__(
        self, inputs: Inputs, sink: Sink, on_read: Callable[[Floats], None], *, lane: str, arrived: float
    ) -> None:
        super().__init__(sink, lane=lane, session=None, forced=inputs, arrived=arrived, last=np.empty(0, np.float32))
        self._on_read = on_read

    @property
    def steps_left(self) -> int:
        """Steps until everything is read."""
        return len(self.forced)

    def take(self, part: Part, record: Slice) -> None:
        """Hand the context on once everything is read."""
        record.prompt_tokens += self._advance(len(part.outputs))
        self.is_finished = not len(self.forced)
        if self.is_finished and self.state is not None:
            self._on_read(self.state)

    def tell(self, now: float) -> Delivery | None:
        """Return nothing: the decoder does the telling."""
        del now
        return None

"""A row whose outputs are tokens: how they are chosen and taken.

``stream`` and ``scoring`` give such rows a purpose. Runs on the engine's thread.
"""

from abc import abstractmethod

import numpy as np

from unrolled_service.graphs.program import Tokens
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.graphs.state import Floats
from unrolled_service.rows.delivery import Sink
from unrolled_service.rows.row import Row
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.sessions.session import Session

NOTHING = np.empty(0, np.int64)


class TextRow(Row):
    """The progress of one call whose outputs are tokens.

    Attributes:
        sampling: how its tokens are chosen.
        seed: of its draws.
        described: how many of the most probable tokens each step describes beside its own; 0 describes nothing.
        traced: int64[N], places of the state that each step reports.
        is_plain: it asks for nothing but a temperature.
        is_watched: it must take its samples after every slice; others may wait until it is time for news.
        token: its last sample when it left the batch.
        counts: f32[2V], how often each token was fed, then how often each was generated, before
            ``consumed``; None where nothing depends on it.
    """

    __slots__ = ("counts", "described", "is_plain", "is_watched", "sampling", "seed", "token", "traced")

    forced: Tokens

    def __init__(
        self,
        sink: Sink,
        *,
        lane: str,
        session: Session | None,
        sampling: Sampling,
        seed: int,
        forced: Tokens,
        arrived: float,
        described: int = 0,
        traced: Tokens = NOTHING,
        is_watched: bool = True,
        is_hurried: bool = False,
    ) -> None:
        super().__init__(sink, lane=lane, session=session, forced=forced, arrived=arrived, is_hurried=is_hurried)
        self.sampling = sampling
        self.seed = seed
        self.described = described
        self.traced = traced
        self.is_plain = not (sampling.adjusts or sampling.truncates or described or len(traced))
        self.is_watched = is_watched
        self.token = 0
        self.counts: Floats | None = None

    def targets(self, steps: int) -> Tokens:
        """Return tokens to describe at the next steps; fewer than ``steps`` describe the samples after that."""
        del steps
        return NOTHING

    @abstractmethod
    def take(self, samples: Samples, i: int, record: Slice) -> None:
        """Take its part of the samples of a slice.

        Args:
            samples: of the slice after the last one it took.
            i: this row's place in it.
            record: into which it writes what it counts.
        """

    def take_text(self, text: str, samples: Samples, record: Slice) -> None:  # noqa: ARG002
        """Take its part of several slices at once, as one text; only for rows that are not watched.

        Args:
            text: one character a step.
            samples: of the last of the slices.
            record: into which it writes what it counts.
        """
        raise TypeError(f"{type(self).__name__} must be watched")

"""What a call adds to its session: inputs that were fed or given, and not recorded in the session's history yet.

Runs on the engine's thread.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_service.sessions.history import Items
from unrolled_service.sessions.session import Session


class Trail:
    """The inputs of one call on a session, from where its history ends.

    Args:
        session: whose history follows as the call's text is delivered.
        width: F, numbers of a vector; 0 for tokens.

    Attributes:
        form: of the items.
    """

    def __init__(self, session: Session, width: int) -> None:
        self._session = session
        self._width = width or 1
        self.form = session.history.form
        self._log = self.form.make_items()

    def add(self, items: NDArray[Any]) -> None:
        """Append inputs: tokens int64[N], V added to generated ones, or vectors f32[N, F]."""
        self._log.frombytes(np.ascontiguousarray(items, self._log.typecode).tobytes())

    def unrecorded(self, position: int) -> Items:
        """Return the inputs before a position that the session's history lacks."""
        return self._log[: self._missing(position)].tolist()

    def record(self, position: int) -> None:
        """Let the session's history follow to a position."""
        missing = self._missing(position)
        self._session.history.extend(self._log[:missing])
        del self._log[:missing]

    def _missing(self, position: int) -> int:
        return max(0, position - self._session.history.end) * self._width

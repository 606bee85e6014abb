"""Where a session is, as far as one handle knows. One thread or task at a time writes it."""


class Whereabouts:
    """The positions that the server reported to a handle, and whether they still hold.

    A position holds while nothing can have moved the session since: it was reported when no stream ran, and the
    handle is the one that made the session. A handle that was opened by id shares its session with whoever else
    knows the id.

    Attributes:
        position: the last position that the server reported, in tokens; None before any report.
    """

    def __init__(self, position: int | None = None) -> None:
        """Begin at the position at which the handle made the session; None: it was opened by id."""
        self.position = position
        self._is_own = position is not None
        self._is_settled = position is not None

    @property
    def certain(self) -> int | None:
        """Return the position if it still holds; None otherwise."""
        return self.floor if self._is_own else None

    @property
    def floor(self) -> int | None:
        """Return the position behind which the session cannot be unless something was lost; None: not known."""
        return self.position if self._is_settled else None

    def depart(self) -> None:
        """Note that a stream begins."""
        self._is_settled = False

    def report(self, position: int) -> None:
        """Note a position of a session on which a stream may run."""
        self.position = position
        self._is_settled = False

    def settle(self, position: int) -> None:
        """Note the position of a session that rests."""
        self.position = position
        self._is_settled = True

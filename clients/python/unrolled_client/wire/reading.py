"""One Step call from its opening to its end: what a message or an error means.

It is made again where it breaks before anything was answered and a repetition is harmless; it neither waits nor
calls.
"""

from dataclasses import replace

from unrolled.v1 import sequence_pb2
from unrolled_client.answers import Output
from unrolled_client.errors import SessionMoved, Unavailable, UnrolledError
from unrolled_client.wire import breaks, replies
from unrolled_client.wire.calls import StepCall
from unrolled_client.wire.patience import Patience
from unrolled_client.wire.whereabouts import Whereabouts


class Reading:
    """What was asked and what was answered.

    Attributes:
        position: inputs in the session's history after all answers that arrived; None before the first.
        error: how the call ended badly; None otherwise.
        is_over: the call has ended, well or badly.
    """

    def __init__(
        self, call: StepCall, patience: Patience | None = None, whereabouts: Whereabouts | None = None
    ) -> None:
        """Plan a call.

        Args:
            call: what the caller asked for.
            patience: bounds the repetitions; None: there are none.
            whereabouts: told every position that the server reports; None without a session.
        """
        self.position: int | None = None
        self.error: UnrolledError | None = None
        self.is_over = False
        self._call = call
        self._patience = patience
        self._whereabouts = whereabouts or Whereabouts()

    def begin(self) -> StepCall:
        """Return the call to make, for the first time or again."""
        self._whereabouts.depart()
        return self._call if self._patience is None else replace(self._call, timeout=self._patience.remaining_s())

    def take(self, message: sequence_pb2.StepResponse) -> tuple[Output, ...]:
        """Note a message; return its answers."""
        self.position = message.position
        self._whereabouts.report(message.position)
        return tuple(map(replies.output, message.outputs))

    def complete(self) -> None:
        """Note that every input was answered."""
        if not self.is_over:
            self.is_over = True
            if self.position is not None:
                self._whereabouts.settle(self.position)

    def fail(self, error: UnrolledError) -> None:
        """Note that the call ended with an error."""
        if not self.is_over:
            self.is_over, self.error = True, error

    def close(self) -> None:
        """Note that this program stops reading."""
        self.fail(breaks.closed())

    def check(self) -> None:
        """Raise what went wrong with the inputs, or the error that the call ended with."""
        self._call.feed.check()
        if self.error is not None:
            raise self.error

    def pause_s(self, error: UnrolledError) -> float | None:
        """Return the seconds to wait before the call is made again; None: the error is how it ends."""
        is_worth_it = self._call.is_repeatable and isinstance(error, (Unavailable, SessionMoved))
        if self._patience is None or self.position is not None or not is_worth_it:
            return None
        return self._patience.pause_s(error)

"""What a stream shows of what it has received, waiting for nothing."""

from typing import Any

from unrolled_client.answers import Vector
from unrolled_client.values import Finish
from unrolled_client.wire.course import Course


class Received:
    """The part of a stream that is the same for synchronous and asynchronous readers."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._transcript = course.transcript
        self._call: Any = None

    @property
    def text(self) -> str:
        """Return the text received so far; empty where the model writes vectors."""
        return self._transcript.text

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Return the vectors received so far; none where the model writes text."""
        return self._transcript.vectors

    @property
    def activations(self) -> tuple[Vector, ...]:
        """Return the activations received so far, one entry a token or vector; none where not asked for."""
        return self._transcript.activations

    @property
    def position(self) -> int | None:
        """Return the position after what was received so far, in tokens or vectors; None before the first piece."""
        return self._transcript.position

    @property
    def finish(self) -> Finish | None:
        """Return how the generation ended; None before its end."""
        return self._transcript.finish

    @property
    def seed(self) -> int | None:
        """Return the seed that was used; None before the end."""
        return None if self.finish is None else self.finish.seed

    @property
    def resumes(self) -> int:
        """Return how often the generation broke and went on; its text is that of an unbroken one."""
        return self._course.resumes

    @property
    def is_over(self) -> bool:
        """Tell whether the stream has ended: complete, failed or closed."""
        return self._course.is_over

    def cancel(self) -> None:
        """Stop reading; the call is cancelled unless it has ended. Doing so again changes nothing."""
        self._course.close()
        if self._call is not None:
            self._call.cancel()

    def _follow(self, call: Any) -> Any:
        """Make a gRPC call the one that `cancel` cancels, and return it."""
        self._call = call
        if self._course.is_over:  # another thread cancelled in between
            call.cancel()
        return call

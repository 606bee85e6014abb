"""How what a model wrote until it broke off is continued, so that the whole is that of the unbroken call.

Arithmetic over what was asked, what has arrived and where the session is now. It knows nothing of errors, time
and connections. One character is one token, as in every vocabulary of Unrolled.
"""

from dataclasses import dataclass

from unrolled.v1 import bundle_pb2, generation_pb2, sequence_pb2
from unrolled_client.answers import Vector
from unrolled_client.wire.echo import Echo


@dataclass(frozen=True)
class Broken:
    """A generation that broke off.

    The history that the caller is to see is what the session held before, then the bundle's own start, then the
    prompt, then what was generated:

        0 ......... start .. start + lead ............. start + lead + prompt ........... end
          (before)      (own start)         (prompt)                          (generated)

    Attributes:
        request: what was asked at first.
        start: position of the session before the call; 0 without a session.
        lead: how many tokens or vectors the server fed by itself at position 0: 1 or 0.
        text: what has arrived, where tokens are generated.
        vectors: what has arrived, where vectors are generated.
        origin: what that came from, which alone may continue it; None: nothing has arrived, or nobody said.
    """

    request: generation_pb2.GenerateRequest
    start: int
    text: str = ""
    vectors: tuple[Vector, ...] = ()
    lead: int = 0
    origin: generation_pb2.Origin | None = None

    @property
    def count(self) -> int:
        """Return how many tokens or vectors have arrived."""
        return len(self.text) + len(self.vectors)

    @property
    def end(self) -> int:
        """Return the position after all that has arrived."""
        return self.start + self.lead + self._given + self.count

    @property
    def echo(self) -> Echo:
        """Return what is generated once more and must come out the same.

        Nothing, except where nothing but the finish is missing: no call generates nothing, so the last token or
        vector is asked for again.
        """
        is_complete = 0 < self.request.max_tokens <= self.count
        return Echo(self.text[-1:], self.vectors[-1:]) if is_complete else Echo()

    def adds_up(self, position: int | None) -> bool:
        """Tell whether the server counts as this side does; None: it has said nothing yet."""
        return position in (None, self.end)

    @property
    def aim(self) -> int:
        """Return the position from which to generate on."""
        return self.end - self.echo.count

    def explains(self, position: int) -> bool:
        """Tell whether this call can have left the session at a position.

        A server that was lost may have stored nothing since the start, but it knew that much; one that lives may
        have counted what never arrived, but no more than was asked for.
        """
        return self.start <= position <= self.start + self.lead + self._given + self.request.max_tokens

    def continuation(self, position: int) -> generation_pb2.GenerateRequest:
        """Return the request that generates on.

        Args:
            position: where the session is, from `start` to `aim`; what it lacks up to there is fed to it.
        """
        skipped, echo = position - self.start, self.echo
        lacking = slice(max(skipped - self.lead, 0), self.aim - self.start - self.lead)
        request = generation_pb2.GenerateRequest()
        request.CopyFrom(self.request)
        request.prompt = (self.request.prompt + self.text)[lacking]
        generated = [bundle_pb2.Vector(values=values) for values in self.vectors]
        del request.prompt_vectors[:]
        request.prompt_vectors.extend([*self.request.prompt_vectors, *generated][lacking])
        if self.request.max_tokens:
            request.max_tokens = max(self.request.max_tokens - self.count, 0) + echo.count
        if self.text:
            request.resumed_tokens += len(self.text) - len(echo.text)
        if skipped:
            request.resumed_tokens = min(request.resumed_tokens, len(request.prompt))
            request.ClearField("condition")
        if self.origin is not None:
            request.origin.CopyFrom(self.origin)
        if request.session_id:
            request.expected_position = position
            # Once something came, whoever runs on the session may have taken it over since.
            request.preempt = self.request.preempt and not self.count
        return request

    @property
    def _given(self) -> int:
        return len(self.request.prompt) + len(self.request.prompt_vectors)


@dataclass(frozen=True)
class Interrupted:
    """A target that broke off: there is no state to go on from, so all of it is written again.

    The same seed writes the same; what the caller has is compared and passed over.

    Attributes:
        request: what was asked.
        echo: what has arrived.
        origin: what that came from; None: nothing has arrived, or nobody said.
    """

    request: sequence_pb2.TransduceRequest
    echo: Echo
    origin: generation_pb2.Origin | None = None

    def adds_up(self, _position: int | None) -> bool:
        """Say that it does: nothing here depends on how the server counts."""
        return True

    def continuation(self, _position: int) -> sequence_pb2.TransduceRequest:
        """Return the request that writes it again."""
        request = sequence_pb2.TransduceRequest()
        request.CopyFrom(self.request)
        if self.origin is not None:
            request.origin.CopyFrom(self.origin)
        return request

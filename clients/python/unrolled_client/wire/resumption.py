"""How a generation that broke off is continued, so that its text is that of the unbroken one.

Arithmetic over what was asked, what has arrived and where the session is now. It knows nothing of errors, time
and connections. One character is one token, as in every vocabulary of Unrolled.
"""

from dataclasses import dataclass

from unrolled.v1 import generation_pb2


@dataclass(frozen=True)
class Broken:
    """A generation that broke off.

    The history that the caller is to see is what the session held before, then the prompt, then the text:

        0 ......... start ............. start + prompt ........... end
          (before)          (prompt)                     (text)

    Attributes:
        request: what was asked at first.
        start: position of the session before the call, in tokens; 0 without a session.
        text: what has arrived.
    """

    request: generation_pb2.GenerateRequest
    start: int
    text: str

    @property
    def end(self) -> int:
        """Return the position after all that has arrived."""
        return self.start + len(self.request.prompt) + len(self.text)

    @property
    def overlap(self) -> str:
        """Return what is generated once more and must come out the same.

        Empty, except where nothing but the finish is missing: no call generates nothing, so the last character
        is asked for again.
        """
        is_complete = len(self.text) >= self.request.max_tokens
        return self.text[-1:] if is_complete else ""

    @property
    def aim(self) -> int:
        """Return the position from which to generate on."""
        return self.end - len(self.overlap)

    def explains(self, position: int) -> bool:
        """Tell whether this call can have left the session at a position.

        A server that was lost may have stored nothing since the start, but it knew that much; one that lives may
        have counted text that never arrived, but no more than was asked for.
        """
        return self.start <= position <= self.start + len(self.request.prompt) + self.request.max_tokens

    def continuation(self, position: int) -> generation_pb2.GenerateRequest:
        """Return the request that generates on.

        Args:
            position: where the session is, from `start` to `aim`; what it lacks up to there is fed to it.
        """
        history = self.request.prompt + self.text
        skipped, kept = position - self.start, self.aim - self.start
        request = generation_pb2.GenerateRequest()
        request.CopyFrom(self.request)
        request.prompt = history[skipped:kept]
        request.max_tokens = max(self.request.max_tokens - len(self.text), 0) + len(self.overlap)
        request.resumed_tokens += len(self.text) - len(self.overlap)
        if skipped:
            request.resumed_tokens = min(request.resumed_tokens, len(request.prompt))
        if request.session_id:
            request.expected_position = position
            # Once there is text, whoever runs on the session may have taken it over since.
            request.preempt = self.request.preempt and not self.text
        return request

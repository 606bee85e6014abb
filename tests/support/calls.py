"""The raw stubs on one channel, with a shorthand for each call that several test modules make."""

import queue
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np

from tests.support.reference import Inputs
from unrolled.v1 import generation_pb2 as generations
from unrolled.v1 import sequence_pb2 as wire
from unrolled.v1 import session_pb2 as sessions
from unrolled.v1.bundle_pb2 import Vector
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.sequence_pb2_grpc import SequenceServiceStub
from unrolled.v1.session_pb2_grpc import SessionServiceStub


def pack_vectors(rows: Iterable[Sequence[float]]) -> list[Vector]:
    """Return vectors as messages."""
    return [Vector(values=[float(number) for number in row]) for row in rows]


def pack_inputs(inputs: Inputs | str | Sequence[Sequence[float]], letters: str = "") -> wire.Inputs:
    """Return inputs as a message: a text or int64[N] tokens of some letters, or f32[N, F] vectors."""
    if isinstance(inputs, str):
        return wire.Inputs(text=inputs)
    if isinstance(inputs, np.ndarray) and inputs.ndim == 1 and inputs.dtype.kind == "i":
        return wire.Inputs(text="".join(letters[token] for token in inputs))
    return wire.Inputs(vectors=pack_vectors(inputs))


def messages(kind: type[Any], opening: dict[str, Any], pieces: Iterable[wire.Inputs | None]) -> Iterator[Any]:
    """Yield the messages of a call: the first one with the opening, or that alone where there is no piece."""
    first = True
    for piece in pieces:
        yield kind(opening=wire.Opening(**opening) if first else None, inputs=piece)
        first = False
    if first:
        yield kind(opening=wire.Opening(**opening))


class Calls:
    """Calls on one channel.

    Attributes:
        sequences, generations, sessions: the stubs.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.sequences = SequenceServiceStub(channel)
        self.generations = GenerationServiceStub(channel)
        self.sessions = SessionServiceStub(channel)

    def step(self, *pieces: wire.Inputs | None, **opening: Any) -> list[wire.StepResponse]:
        """Step through pieces and return every message."""
        return list(self.sequences.Step(messages(wire.StepRequest, opening, pieces)))

    def classify(self, *pieces: wire.Inputs | None, **opening: Any) -> wire.ClassifyResponse:
        """Classify pieces."""
        reply: wire.ClassifyResponse = self.sequences.Classify(messages(wire.ClassifyRequest, opening, pieces))
        return reply

    def transduce(self, **fields: Any) -> list[wire.TransduceResponse]:
        """Transduce and return every message."""
        return list(self.sequences.Transduce(wire.TransduceRequest(**fields)))

    def generate(self, **fields: Any) -> list[generations.GenerateResponse]:
        """Generate and return every message."""
        return list(self.generations.Generate(generations.GenerateRequest(**fields)))

    def score(self, **fields: Any) -> generations.ScoreResponse:
        """Score a text."""
        reply: generations.ScoreResponse = self.generations.Score(generations.ScoreRequest(**fields))
        return reply

    def create(self, model: str) -> str:
        """Make a session and return its id."""
        return str(self.sessions.CreateSession(sessions.CreateSessionRequest(model=model)).session.id)

    def find(self, session_id: str) -> sessions.Session:
        """Return a session as it is."""
        reply: sessions.GetSessionResponse = self.sessions.GetSession(sessions.GetSessionRequest(session_id=session_id))
        return reply.session

    def rewind(self, session_id: str, position: int) -> sessions.Session:
        """Take a session back."""
        reply: sessions.RewindSessionResponse = self.sessions.RewindSession(
            sessions.RewindSessionRequest(session_id=session_id, position=position)
        )
        return reply.session


class Conversation:
    """A Step or Classify call whose messages are sent one by one, as a caller would who waits for answers.

    Args:
        method: of the stub.
        kind: its request.
        opening: of the first message; {} sends none.
        timeout: the call's deadline in seconds, or None.
    """

    def __init__(self, method: Any, kind: type[Any], *, timeout: float | None = None, **opening: Any) -> None:
        self._kind, self._opening = kind, opening
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.call = method(iter(self._outgoing.get, None), timeout=timeout)

    def send(self, inputs: wire.Inputs | None = None, **fields: Any) -> None:
        """Send a message; the first one has the opening."""
        opening, self._opening = self._opening, {}
        if opening:
            fields["opening"] = wire.Opening(**opening)
        self._outgoing.put(self._kind(inputs=inputs, **fields))

    def close(self) -> None:
        """Close the caller's side."""
        self._outgoing.put(None)

    def read(self) -> wire.StepResponse:
        """Wait for the next message."""
        reply: wire.StepResponse = next(self.call)
        return reply

    def ask(self, inputs: wire.Inputs) -> list[wire.Output]:
        """Send inputs and return the outputs that answer them."""
        self.send(inputs)
        outputs: list[wire.Output] = []
        while len(outputs) < max(len(inputs.text), len(inputs.vectors)):
            outputs += self.read().outputs
        return outputs

"""The part of the fake server that reads sequences: its state is a sum, which anybody can add up.

A letter counts its place in the alphabet, a vector the sum of its numbers. The answer to an input is whether the sum
of all inputs is even or odd, or, with `gives_numbers`, the sum and how many inputs there were.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from unrolled.v1 import bundle_pb2, generation_pb2, sequence_pb2

NAMES = ("even", "odd")
MAX_INPUTS = 4_096
MAX_BYTES = 2**20


@dataclass
class State:
    """What a session remembers."""

    total: float = 0.0
    position: int = 0

    def read(self, value: float) -> None:
        self.total += value
        self.position += 1


@dataclass
class Sequences:
    """What the three methods are told to do, and what they noted."""

    gives_numbers: bool = False
    states: dict[str, State] = field(default_factory=dict)
    breaks: list[tuple[int, status_pb2.Status]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def values_of(inputs: sequence_pb2.Inputs) -> list[float]:
    letters = [float(ord(letter) - ord("a") + 1) for letter in inputs.text]
    return letters or [sum(vector.values) for vector in inputs.vectors]


def answer(state: State, activations: generation_pb2.Activations, gives_numbers: bool) -> sequence_pb2.Output:
    units = [state.total, float(state.position)]
    watched = [units[place] for place in activations.units or range(2)] if activations.state else []
    if gives_numbers:
        return sequence_pb2.Output(values=units, activations=watched)
    is_odd = int(state.total) % 2
    probabilities = [0.25, 0.75] if is_odd else [0.75, 0.25]
    return sequence_pb2.Output(label=NAMES[is_odd], probabilities=probabilities, activations=watched)


class FakeSequences:
    """Step, Classify and Transduce as the contract says, one response a message."""

    sequences: Sequences
    requests: list[Any]
    _note: Any
    _require: Any
    _expect: Any
    _move: Any
    _lose_reply: Any

    def Step(self, requests: Iterator[Any], context: Any) -> Iterator[sequence_pb2.StepResponse]:
        context.add_callback(self.sequences.ended.set)
        broken = None
        sent = 0
        for opening, state, inputs in self._read(requests, context):
            if broken is None:
                broken = self.sequences.breaks.pop(0) if self.sequences.breaks else (None, None)
            outputs: list[sequence_pb2.Output] = []
            for value in values_of(inputs):
                if sent + len(outputs) == broken[0]:
                    break
                state.read(value)
                outputs.append(answer(state, opening.activations, self.sequences.gives_numbers))
            sent += len(outputs)
            self._keep(opening.session_id, state)
            if outputs:
                yield sequence_pb2.StepResponse(outputs=outputs, position=state.position)
            if sent == broken[0]:
                context.abort_with_status(rpc_status.to_status(broken[1]))

    def Classify(self, requests: Iterator[Any], context: Any) -> sequence_pb2.ClassifyResponse:
        context.add_callback(self.sequences.ended.set)
        count = 0
        opening, state = sequence_pb2.Opening(), State()
        for opening, state, inputs in self._read(requests, context):  # noqa: B007
            for value in values_of(inputs):
                state.read(value)
                count += 1
        if not context.is_active():
            return sequence_pb2.ClassifyResponse()
        if not count:
            self._refuse(context, "inputs")
        self._keep(opening.session_id, state)
        self._lose_reply(sequence_pb2.ClassifyRequest(), context)
        output = answer(state, opening.activations, self.sequences.gives_numbers)
        return sequence_pb2.ClassifyResponse(output=output, inputs=count, position=state.position)

    def Transduce(self, request: Any, context: Any) -> Iterator[sequence_pb2.TransduceResponse]:
        """Answer a text with its letters backwards and in upper case, vectors with vectors backwards."""
        self._note(request, context)
        broken = self.sequences.breaks.pop(0) if self.sequences.breaks else (None, None)
        text, vectors = request.source.text.upper()[::-1], request.source.vectors[::-1]
        count = min(max(len(text), len(vectors)), request.max_tokens or 99)
        for place in range(count):
            if place == broken[0]:
                context.abort_with_status(rpc_status.to_status(broken[1]))
            piece = generation_pb2.Chunk(text=text[place : place + 1], position=place + 2)
            piece.vectors.extend(vectors[place : place + 1])
            yield sequence_pb2.TransduceResponse(chunk=piece)
        if count == broken[0]:
            context.abort_with_status(rpc_status.to_status(broken[1]))
        usage = generation_pb2.Usage(prompt_tokens=len(text or vectors), generated_tokens=count)
        reason = generation_pb2.FINISH_REASON_END
        finish = generation_pb2.Finish(reason=reason, usage=usage, seed=request.seed, position=count + 1)
        yield sequence_pb2.TransduceResponse(finish=finish)

    def _read(self, requests: Iterable[Any], context: Any) -> Iterator[tuple[Any, State, Any]]:
        opening, state = None, State()
        for request in requests:
            is_first = opening is None
            if opening is None:
                self._note(request, context)
                opening = request.opening
                state = self._begin(opening, context)
            else:
                self.requests.append(request)
            if not is_first and request.HasField("opening"):
                self._refuse(context, "opening")
            count = len(request.inputs.text) + len(request.inputs.vectors)
            if count > MAX_INPUTS or request.ByteSize() > MAX_BYTES or (count == 0 and not request.HasField("opening")):
                self._refuse(context, "inputs")
            yield opening, state, request.inputs

    def _begin(self, opening: sequence_pb2.Opening, context: Any) -> State:
        if not opening.session_id:
            return State()
        session = self._require(opening.session_id, context)
        self._expect(session, opening, context)
        kept = self.sequences.states.get(opening.session_id, State())
        return State(kept.total, kept.position)

    def _keep(self, session_id: str, state: State) -> None:
        if session_id:
            self.sequences.states[session_id] = State(state.total, state.position)
            self._move(session_id, state.position)

    def _refuse(self, context: Any, name: str) -> None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=name, description="no")
        info = error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="unrolled")
        status = status_pb2.Status(code=3, message=f"{name}: no")
        for detail in (info, error_details_pb2.BadRequest(field_violations=[violation])):
            status.details.add().Pack(detail)
        context.abort_with_status(rpc_status.to_status(status))


def vectors(*rows: Iterable[float]) -> list[bundle_pb2.Vector]:
    return [bundle_pb2.Vector(values=row) for row in rows]

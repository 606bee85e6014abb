"""A server made by hand: it says what a test tells it to say, and notes what it was asked."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_status import rpc_status

from tests.unit.client.fake_sequences import FakeSequences, Sequences
from unrolled.v1 import (
    error_pb2,
    generation_pb2,
    generation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    sequence_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
PATIENCE_S: Final = 60.0
DRAWN_SEED: Final = 11


class Hang:
    """A step of a script: say nothing more until the call ends."""


@dataclass(frozen=True)
class Cut:
    """Breaks one stream of the alphabet.

    Attributes:
        after: characters that are sent first.
        status: how the call ends.
        counted: further characters that the session counts though they were never sent; below 0 it has forgotten
            some that were.
    """

    after: int
    status: status_pb2.Status
    counted: int = 0


Step: TypeAlias = str | Hang | generation_pb2.GenerateResponse | status_pb2.Status


def letters(count: int) -> str:
    return "".join(LETTERS[i % len(LETTERS)] for i in range(count))


def alphabet(position: int, count: int) -> str:
    """Return the text from a position on where it is a function of the position alone."""
    return "".join(LETTERS[(position + i) % len(LETTERS)] for i in range(count))


def code_of(reason: str) -> int:
    value = error_pb2.ErrorReason.DESCRIPTOR.values_by_name[f"ERROR_REASON_{reason}"]
    return int(value.GetOptions().Extensions[cast(Any, error_pb2.grpc_code)])


def refusal(
    reason: str,
    message: str = "no",
    *details: Any,
    code: int | None = None,
    domain: str = "unrolled",
    **metadata: str,
) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
    return bare_status(code_of(reason) if code is None else code, message, info, *details)


def bare_status(code: int, message: str, *details: Any) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


def bare_session(session_id: str, **fields: Any) -> session_pb2.Session:
    session = session_pb2.Session(id=session_id, tier=session_pb2.SESSION_TIER_RESIDENT, **fields)
    session.create_time.FromSeconds(1_000)
    session.expire_time.FromSeconds(1_000)
    return session


@dataclass
class FakeServer(FakeSequences):
    """Its Generate follows `script`; without one it sends max_tokens letters, three to a message.

    With `cuts` the text is the alphabet, a letter for each position, and the next call meets the first of them.
    """

    script: Sequence[Step] | None = None
    cuts: list[Cut] | None = None
    refusals: dict[str, list[status_pb2.Status]] = field(default_factory=dict)
    lost_replies: dict[str, list[status_pb2.Status]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    made: dict[str, list[session_pb2.Session]] = field(default_factory=dict)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    deadlines_s: list[float | None] = field(default_factory=list)
    sessions: dict[str, session_pb2.Session] = field(default_factory=dict)
    models: list[model_pb2.Model] = field(default_factory=list)
    was_cancelled: threading.Event = field(default_factory=threading.Event)
    was_completed: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False
    was_asked: threading.Event = field(default_factory=threading.Event)
    target: str = ""
    prefix: str = "s"
    sequences: Sequences = field(default_factory=Sequences)

    def Generate(self, request: Any, context: Any) -> Iterator[generation_pb2.GenerateResponse]:
        served, ended = threading.Event(), threading.Event()

        def end() -> None:
            ended.set()
            if not served.is_set():
                self.was_cancelled.set()

        # The generator is not resumed once the call is over, so the callback notes it.
        context.add_callback(end)
        self._note(request, context)
        position = 0
        if request.session_id in self.sessions:
            self._expect(self.sessions[request.session_id], request, context)
            position = self.sessions[request.session_id].position
        start = position
        position += len(request.prompt)
        for step in self._steps(request, position):
            match step:
                case str():
                    position += len(step)
                    self._move(request.session_id, position)
                    piece = chunk(step, position)
                    for i in range(len(step) if request.HasField("activations") else 0):
                        piece.chunk.activations.add(values=[position - len(step) + i])
                    yield piece
                case Hang():
                    ended.wait(PATIENCE_S)
                    return
                case status_pb2.Status():
                    served.set()
                    context.abort_with_status(rpc_status.to_status(step))
                case _:
                    yield step
        if self.script is None:
            yield finish(request, position, start)
        served.set()
        self.was_completed.set()

    def Score(self, request: Any, context: Any) -> generation_pb2.ScoreResponse:
        self._note(request, context)
        reply = generation_pb2.ScoreResponse(logprob=-3.0, tokens=2, nats_per_token=1.5, bits_per_token=2.25)
        if request.per_token:
            for letter in request.text[1:]:
                top = [generation_pb2.TokenLogprob(token="x", logprob=-0.5)] * request.logprobs
                chosen = generation_pb2.TokenLogprob(token=letter, logprob=-1.5)
                if request.HasField("activations"):
                    reply.activations.add(values=[len(reply.logprobs)])
                reply.logprobs.add(chosen=chosen, top=top)
        return reply

    def CreateSession(self, request: Any, context: Any) -> session_pb2.CreateSessionResponse:
        self._note(request, context)
        template = session_pb2.Session(model=request.model or "letters", seed=request.seed)
        template.expire_time.FromSeconds(1_000 + request.ttl.seconds)
        (session,) = self._make(request.idempotency_key, template)
        self._lose_reply(request, context)
        return session_pb2.CreateSessionResponse(session=session)

    def GetSession(self, request: Any, context: Any) -> session_pb2.GetSessionResponse:
        self._note(request, context)
        if self.hangs:
            ended = threading.Event()
            context.add_callback(ended.set)
            self.was_asked.set()
            ended.wait(PATIENCE_S)
        self._require(request.session_id, context)
        return session_pb2.GetSessionResponse(session=self.sessions[request.session_id])

    def ListSessions(self, request: Any, context: Any) -> session_pb2.ListSessionsResponse:
        self._note(request, context)
        begin, size = int(request.page_token or 0), request.page_size or 100
        sessions = list(self.sessions.values())
        following = str(begin + size) if begin + size < len(sessions) else ""
        return session_pb2.ListSessionsResponse(sessions=sessions[begin : begin + size], next_page_token=following)

    def DeleteSession(self, request: Any, context: Any) -> session_pb2.DeleteSessionResponse:
        self._note(request, context)
        self._require(request.session_id, context)
        del self.sessions[request.session_id]
        return session_pb2.DeleteSessionResponse()

    def ForkSession(self, request: Any, context: Any) -> session_pb2.ForkSessionResponse:
        self._note(request, context)
        origin = self._require(request.session_id, context)
        templates = []
        for index in range(request.count or 1):
            templates.append(session_pb2.Session())
            templates[-1].CopyFrom(origin)
            templates[-1].seed = request.seeds[index] if request.seeds else origin.seed
        forks = self._make(request.idempotency_key, *templates)
        self._lose_reply(request, context)
        return session_pb2.ForkSessionResponse(sessions=forks)

    def RewindSession(self, request: Any, context: Any) -> session_pb2.RewindSessionResponse:
        self._note(request, context)
        session = self._require(request.session_id, context)
        self._expect(session, request, context)
        if not session.rewindable_from <= request.position <= session.position:
            context.abort_with_status(rpc_status.to_status(refusal("REWIND_OUT_OF_RANGE")))
        session.position = request.position
        self._lose_reply(request, context)
        return session_pb2.RewindSessionResponse(session=session)

    def ExportSnapshot(self, request: Any, context: Any) -> session_pb2.ExportSnapshotResponse:
        self._note(request, context)
        session = self._require(request.session_id, context)
        return session_pb2.ExportSnapshotResponse(snapshot=session.SerializeToString(), position=session.position)

    def ImportSnapshot(self, request: Any, context: Any) -> session_pb2.ImportSnapshotResponse:
        self._note(request, context)
        template = session_pb2.Session.FromString(request.snapshot)
        if request.HasField("seed"):
            template.seed = request.seed
        (session,) = self._make(request.idempotency_key, template)
        self._lose_reply(request, context)
        return session_pb2.ImportSnapshotResponse(session=session)

    def ListModels(self, request: Any, context: Any) -> model_pb2.ListModelsResponse:
        self._note(request, context)
        return model_pb2.ListModelsResponse(models=self.models)

    def GetModel(self, request: Any, context: Any) -> model_pb2.GetModelResponse:
        self._note(request, context)
        named = [model for model in self.models if model.manifest.name == request.model]
        return model_pb2.GetModelResponse(model=(named or self.models)[0])

    def _note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.deadlines_s.append(context.time_remaining())
        waiting = self.refusals.get(type(request).__name__)
        if waiting:
            context.abort_with_status(rpc_status.to_status(waiting.pop(0)))

    def _lose_reply(self, request: Any, context: Any) -> None:
        """Do as if the connection broke after the call did its work."""
        waiting = self.lost_replies.get(type(request).__name__)
        if waiting:
            context.abort_with_status(rpc_status.to_status(waiting.pop(0)))

    def _make(self, key: str, *templates: session_pb2.Session) -> list[session_pb2.Session]:
        if key and key in self.made:
            return self.made[key]
        for session in templates:
            session.id = f"{self.prefix}{len(self.sessions)}"
            session.create_time.FromSeconds(1_000)
            session.tier = session_pb2.SESSION_TIER_RESIDENT
            self.sessions[session.id] = session
        return self.made.setdefault(key, [*templates]) if key else [*templates]

    def _require(self, session_id: str, context: Any) -> session_pb2.Session:
        if session_id not in self.sessions:
            context.abort_with_status(rpc_status.to_status(refusal("SESSION_NOT_FOUND")))
        return self.sessions[session_id]

    def _expect(self, session: session_pb2.Session, request: Any, context: Any) -> None:
        if request.HasField("expected_position") and request.expected_position != session.position:
            status = refusal("POSITION_MISMATCH", position=str(session.position))
            context.abort_with_status(rpc_status.to_status(status))

    def _move(self, session_id: str, position: int) -> None:
        if session_id in self.sessions:
            self.sessions[session_id].position = position

    def _steps(self, request: Any, position: int) -> Iterator[Step]:
        if self.script is not None:
            yield from self.script
            return
        cut = self.cuts.pop(0) if self.cuts else None
        text = letters(request.max_tokens) if self.cuts is None else alphabet(position, request.max_tokens)
        sent = text if cut is None else text[: cut.after]
        yield from (sent[i : i + 3] for i in range(0, len(sent), 3))
        if cut is not None:
            self._move(request.session_id, position + len(sent) + cut.counted)
            yield cut.status


def chunk(text: str, position: int = 0) -> generation_pb2.GenerateResponse:
    return generation_pb2.GenerateResponse(chunk=generation_pb2.Chunk(text=text, position=position))


def finish(request: Any, position: int, start: int = 0) -> generation_pb2.GenerateResponse:
    message = generation_pb2.Finish(
        reason=generation_pb2.FINISH_REASON_LENGTH,
        usage=generation_pb2.Usage(prompt_tokens=len(request.prompt), generated_tokens=request.max_tokens),
        seed=request.seed if request.HasField("seed") else DRAWN_SEED,
        position=position,
        start_position=start,
    )
    message.timings.queue.FromMilliseconds(1)
    message.timings.first_token.FromMilliseconds(2)
    message.timings.total.FromMilliseconds(1_500)
    return generation_pb2.GenerateResponse(finish=message)


@contextmanager
def running(
    fake: FakeServer, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> Iterator[FakeServer]:
    server = grpc.server(ThreadPoolExecutor(16))
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(fake, server)
    sequence_pb2_grpc.add_SequenceServiceServicer_to_server(fake, server)
    session_pb2_grpc.add_SessionServiceServicer_to_server(fake, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    fake.target = f"127.0.0.1:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()

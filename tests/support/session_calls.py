"""The raw stubs of sessions on one channel, with a shorthand for each call, and a session that has begun."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from unrolled.v1 import session_pb2 as wire
from unrolled.v1.generation_pb2 import Finish, GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.session_pb2_grpc import SessionServiceStub

HELLO = "hello"
ENDLESS = 10**7
LIMITS = {"max_sessions": 200, "max_tokens": ENDLESS, "rewind_tokens": 1_000_000, "engine_threads": 2}


class Caller:
    """The raw stubs on one channel, with a shorthand for each call."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._sessions = SessionServiceStub(channel)
        self._generations = GenerationServiceStub(channel)

    def create(self, **fields: Any) -> wire.Session:
        reply: wire.CreateSessionResponse = self._sessions.CreateSession(
            wire.CreateSessionRequest(**({"model": "alphabet"} | fields))
        )
        return reply.session

    def get(self, session_id: str) -> wire.Session:
        reply: wire.GetSessionResponse = self._sessions.GetSession(wire.GetSessionRequest(session_id=session_id))
        return reply.session

    def page(self, **fields: Any) -> wire.ListSessionsResponse:
        reply: wire.ListSessionsResponse = self._sessions.ListSessions(wire.ListSessionsRequest(**fields))
        return reply

    def delete(self, session_id: str, **fields: Any) -> None:
        self._sessions.DeleteSession(wire.DeleteSessionRequest(session_id=session_id, **fields))

    def fork(self, session_id: str, **fields: Any) -> list[wire.Session]:
        reply: wire.ForkSessionResponse = self._sessions.ForkSession(
            wire.ForkSessionRequest(session_id=session_id, **fields)
        )
        return list(reply.sessions)

    def rewind(self, session_id: str, position: int, **fields: Any) -> wire.Session:
        reply: wire.RewindSessionResponse = self._sessions.RewindSession(
            wire.RewindSessionRequest(session_id=session_id, position=position, **fields)
        )
        return reply.session

    def export(self, session_id: str, **fields: Any) -> wire.ExportSnapshotResponse:
        reply: wire.ExportSnapshotResponse = self._sessions.ExportSnapshot(
            wire.ExportSnapshotRequest(session_id=session_id, **fields)
        )
        return reply

    def restore(self, snapshot: bytes, **fields: Any) -> wire.Session:
        reply: wire.ImportSnapshotResponse = self._sessions.ImportSnapshot(
            wire.ImportSnapshotRequest(snapshot=snapshot, **fields)
        )
        return reply.session

    def stream(self, session_id: str, prompt: str = "", max_tokens: int = ENDLESS, **fields: Any) -> grpc.Call:
        request = GenerateRequest(session_id=session_id, prompt=prompt, max_tokens=max_tokens, **fields)
        return self._generations.Generate(request)

    def generate(self, session_id: str, prompt: str = "", max_tokens: int = 30, **fields: Any) -> tuple[str, Finish]:
        *chunks, last = self.stream(session_id, prompt, max_tokens, **fields)
        return "".join(event.chunk.text for event in chunks), last.finish


@contextmanager
def begun_session(caller: Caller) -> Iterator[str]:
    """Make a session that was fed hello and gave 30 letters, at position 35; it is gone afterwards."""
    session_id = caller.create(seed=7).id
    caller.generate(session_id, HELLO)
    yield session_id
    if session_id in {each.id for each in caller.page(page_size=1000).sessions}:
        caller.delete(session_id, preempt=True)

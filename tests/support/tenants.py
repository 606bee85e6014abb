"""Every call that names a session, and what two tenants see of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tests.support.access import Outcome, bearer, call, find_methods
from unrolled.v1 import generation_pb2, sequence_pb2, session_pb2

METHODS: Mapping[str, MethodDescriptor] = {method.name: method for method in find_methods("unrolled.v1")}
NAMING = {
    name
    for name, method in METHODS.items()
    if "session_id" in method.input_type.fields_by_name or "opening" in method.input_type.fields_by_name
}
"""The methods that take the id of a session."""

Make = Callable[[str], Message]
_OPENING = sequence_pb2.Opening
CALLS: dict[str, tuple[str, Make]] = {
    "describe": ("GetSession", lambda id_: session_pb2.GetSessionRequest(session_id=id_)),
    "delete": ("DeleteSession", lambda id_: session_pb2.DeleteSessionRequest(session_id=id_)),
    "delete at a position": (
        "DeleteSession",
        lambda id_: session_pb2.DeleteSessionRequest(session_id=id_, expected_position=77),
    ),
    "delete and preempt": ("DeleteSession", lambda id_: session_pb2.DeleteSessionRequest(session_id=id_, preempt=True)),
    "fork": ("ForkSession", lambda id_: session_pb2.ForkSessionRequest(session_id=id_, count=3)),
    "fork with a key": ("ForkSession", lambda id_: session_pb2.ForkSessionRequest(session_id=id_, idempotency_key="k")),
    "fork at a position": (
        "ForkSession",
        lambda id_: session_pb2.ForkSessionRequest(session_id=id_, expected_position=77),
    ),
    "rewind": ("RewindSession", lambda id_: session_pb2.RewindSessionRequest(session_id=id_, position=1)),
    "rewind too far": ("RewindSession", lambda id_: session_pb2.RewindSessionRequest(session_id=id_, position=2**63)),
    "rewind and preempt": (
        "RewindSession",
        lambda id_: session_pb2.RewindSessionRequest(session_id=id_, position=1, preempt=True),
    ),
    "export": ("ExportSnapshot", lambda id_: session_pb2.ExportSnapshotRequest(session_id=id_)),
    "generate": ("Generate", lambda id_: generation_pb2.GenerateRequest(session_id=id_, prompt="a", max_tokens=3)),
    "generate with a model": (
        "Generate",
        lambda id_: generation_pb2.GenerateRequest(session_id=id_, model="alphabet", prompt="a", max_tokens=3),
    ),
    "generate and preempt": (
        "Generate",
        lambda id_: generation_pb2.GenerateRequest(session_id=id_, max_tokens=3, preempt=True),
    ),
    "generate at a position": (
        "Generate",
        lambda id_: generation_pb2.GenerateRequest(session_id=id_, prompt="a", max_tokens=3, expected_position=77),
    ),
    "generate what cannot be": ("Generate", lambda id_: generation_pb2.GenerateRequest(session_id=id_, prompt="7")),
    "generate with no such model": (
        "Generate",
        lambda id_: generation_pb2.GenerateRequest(session_id=id_, model="nobody", prompt="a", max_tokens=3),
    ),
    "step": ("Step", lambda id_: sequence_pb2.StepRequest(opening=_OPENING(session_id=id_))),
    "step and preempt": ("Step", lambda id_: sequence_pb2.StepRequest(opening=_OPENING(session_id=id_, preempt=True))),
    "classify": ("Classify", lambda id_: sequence_pb2.ClassifyRequest(opening=_OPENING(session_id=id_))),
    "classify with a model": (
        "Classify",
        lambda id_: sequence_pb2.ClassifyRequest(opening=_OPENING(session_id=id_, model="alphabet")),
    ),
}
"""Calls by what they do: the method and its request about a session."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Somebody who calls with a token, and sees everything that comes back as it is on the wire."""

    channel: grpc.Channel
    token: str

    def ask(self, name: str, request: Message) -> Outcome:
        """Make a call by its method's name."""
        return call(self.channel, METHODS[name], request.SerializeToString(), bearer(self.token))

    def try_on(self, what: str, session_id: str) -> Outcome:
        """Make one of `CALLS` about a session."""
        name, make = CALLS[what]
        return self.ask(name, make(session_id))

    def create(self, **fields: object) -> str:
        """Make a session and return its id."""
        outcome = self.ask("CreateSession", session_pb2.CreateSessionRequest(**fields))  # type: ignore[arg-type]
        return str(session_pb2.CreateSessionResponse.FromString(outcome.replies[0]).session.id)

    def get(self, session_id: str) -> session_pb2.Session:
        """Describe a session, but for its expiry, which is worked out anew each time and differs by microseconds."""
        outcome = self.ask("GetSession", session_pb2.GetSessionRequest(session_id=session_id))
        session = session_pb2.GetSessionResponse.FromString(outcome.replies[0]).session
        session.ClearField("expire_time")
        return session

    def listed(self, page_size: int = 1000) -> list[str]:
        """Return the ids of all sessions that are listed, page after page."""
        ids, token = [], ""
        while True:
            request = session_pb2.ListSessionsRequest(page_size=page_size, page_token=token)
            page = session_pb2.ListSessionsResponse.FromString(self.ask("ListSessions", request).replies[0])
            ids += [each.id for each in page.sessions]
            token = page.next_page_token
            if not token:
                return ids


def unknown_like(session_id: str) -> str:
    """Return an id that nobody has, and that looks like another one."""
    return "A" * (len(session_id) - 1) + session_id[-1]

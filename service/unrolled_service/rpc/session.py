"""SessionService: sessions are made, described, listed, copied, rewound, moved and ended."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from unrolled.v1 import session_pb2 as wire
from unrolled.v1.session_pb2_grpc import SessionServiceServicer
from unrolled_service.bridge.workers import Workers
from unrolled_service.engine import Engine
from unrolled_service.metrics import Metrics
from unrolled_service.rpc.caller import caller
from unrolled_service.rpc.convert import (
    read_forks,
    read_idempotency_key,
    read_page,
    read_snapshot,
    read_ttl,
    write_session,
    write_snapshot,
)
from unrolled_service.rpc.fields import read_model, read_optional, read_session_id
from unrolled_service.rpc.preemption import preempting
from unrolled_service.sessions.session import Session, SessionInfo
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content
from unrolled_service.storage.custody import Custody
from unrolled_service.storage.idempotency import Idempotency
from unrolled_service.tenants.quotas import Quotas

_R = TypeVar("_R", bound=Message)


class SessionService(SessionServiceServicer):
    """Serves the sessions of all workers, to each caller its own."""

    def __init__(
        self, workers: Workers, custody: Custody, metrics: Metrics, quotas: Quotas, settings: Settings
    ) -> None:
        self._workers = workers
        self._quotas = quotas
        self._custody = custody
        self._metrics = metrics
        self._settings = settings
        self._idempotency = Idempotency()

    async def CreateSession(
        self, request: wire.CreateSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.CreateSessionResponse:
        """Make a session at position 0."""
        custody = self._custody.of(caller().tenant)
        model = read_model(request.model)
        seed, ttl_s = read_optional(request, "seed"), self._read_ttl(request)

        async def make() -> wire.CreateSessionResponse:
            worker = self._workers.for_session()
            with self._reserve(custody.owner):
                made = await worker.driver.call(_create, worker.engine, model, seed, ttl_s, custody.owner)
            return wire.CreateSessionResponse(session=await _stored(custody, made))

        return await self._once(request, make, custody.owner)

    async def GetSession(self, request: wire.GetSessionRequest, _: grpc.aio.ServicerContext) -> wire.GetSessionResponse:
        """Describe a session."""
        custody = self._custody.of(caller().tenant)
        session_id = read_session_id(request.session_id)
        worker = await custody.hold(session_id, is_question=True, lease_s=0.0)
        found = await worker.driver.call(_describe, worker.engine, session_id, custody.owner)
        return wire.GetSessionResponse(session=write_session(found))

    async def ListSessions(
        self, request: wire.ListSessionsRequest, _: grpc.aio.ServicerContext
    ) -> wire.ListSessionsResponse:
        """List a page of sessions."""
        after, limit = read_page(request.page_size, request.page_token)
        found = await self._workers.sessions(after, limit + 1, owner=caller().tenant)
        page = found[:limit]
        token = str(page[-1].serial) if len(found) > limit else ""
        return wire.ListSessionsResponse(sessions=map(write_session, page), next_page_token=token)

    async def DeleteSession(
        self, request: wire.DeleteSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.DeleteSessionResponse:
        """End a session."""
        custody = self._custody.of(caller().tenant)
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await custody.hold(session_id, expected_position=expected, lease_s=0.0)
        named = {"expected": expected, "owner": custody.owner}

        async def end() -> None:
            await worker.driver.call(worker.engine.check_idle, session_id, **named)
            await custody.delete(session_id)
            await worker.driver.call(worker.engine.delete_session, session_id, **named)

        await (preempting(worker, session_id, end, owner=custody.owner) if request.preempt else end())
        return wire.DeleteSessionResponse()

    async def ForkSession(
        self, request: wire.ForkSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.ForkSessionResponse:
        """Make sessions that begin where one is."""
        custody = self._custody.of(caller().tenant)
        session_id, seeds = read_session_id(request.session_id), read_forks(request)
        expected = read_optional(request, "expected_position")

        async def make() -> wire.ForkSessionResponse:
            worker = await custody.hold(session_id, expected_position=expected, lease_s=0.0)
            with self._reserve(custody.owner, len(seeds)):
                made = await worker.driver.call(_fork, worker.engine, session_id, seeds, expected, custody.owner)
            self._metrics.count_forks(len(made))
            return wire.ForkSessionResponse(sessions=[await _stored(custody, each) for each in made])

        return await self._once(request, make, custody.owner)

    async def RewindSession(
        self, request: wire.RewindSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.RewindSessionResponse:
        """Take a session back to a position that it had."""
        custody = self._custody.of(caller().tenant)
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await custody.hold(session_id, expected_position=expected, lease_s=0.0)
        asked = session_id, request.position, expected, custody.owner
        rewind = partial(worker.driver.call, _rewind, worker.engine, *asked)

        async def move() -> SessionInfo:
            now = await (preempting(worker, session_id, rewind, owner=custody.owner) if request.preempt else rewind())
            await custody.save(session_id, rewound=True)
            return now

        return wire.RewindSessionResponse(session=write_session(await custody.complete(move())))

    async def ExportSnapshot(
        self, request: wire.ExportSnapshotRequest, _: grpc.aio.ServicerContext
    ) -> wire.ExportSnapshotResponse:
        """Return a session as signed bytes."""
        custody = self._custody.of(caller().tenant)
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await custody.hold(session_id, expected_position=expected, lease_s=0.0)
        named = {"expected": expected, "owner": custody.owner}
        content = await worker.driver.call(worker.engine.take_out_session, session_id, **named)
        snapshot = write_snapshot(await asyncio.to_thread(custody.sign, content))
        self._metrics.count_snapshot("export")
        return wire.ExportSnapshotResponse(snapshot=snapshot, position=content.position)

    async def ImportSnapshot(
        self, request: wire.ImportSnapshotRequest, _: grpc.aio.ServicerContext
    ) -> wire.ImportSnapshotResponse:
        """Make a session of a snapshot."""
        custody = self._custody.of(caller().tenant)
        seed, ttl_s = read_optional(request, "seed"), self._read_ttl(request) or self._settings.session_ttl_s
        snapshot = read_snapshot(request.snapshot)

        async def make() -> wire.ImportSnapshotResponse:
            read = partial(custody.read, accept_other_numerics=request.accept_other_numerics)
            content = await asyncio.to_thread(read, snapshot)
            worker = self._workers.for_session()
            with self._reserve(custody.owner):
                made = await worker.driver.call(_put_in, worker.engine, content, seed, ttl_s)
            self._metrics.count_snapshot("import")
            return wire.ImportSnapshotResponse(session=await _stored(custody, made))

        return await self._once(request, make, custody.owner)

    async def _once(self, request: Any, make: Callable[[], Awaitable[_R]], owner: str) -> _R:
        """Make what a request asks for, or return what was made when it came before."""
        key = read_idempotency_key(request.idempotency_key)
        return await self._idempotency.once(key, request, make, owner=owner)

    def _reserve(self, owner: str, number: int = 1) -> AbstractContextManager[None]:
        """Count sessions that are made while the block runs, or refuse to make them."""
        return self._quotas.sessions(owner, number, self._workers.owned_by(owner))

    def _read_ttl(self, request: wire.CreateSessionRequest | wire.ImportSnapshotRequest) -> float | None:
        return read_ttl(request.ttl, self._settings) if request.HasField("ttl") else None


async def _stored(custody: Custody, made: SessionInfo) -> wire.Session:
    """Store a new session, if there is a store, and return its message."""
    message = write_session(made)
    message.stored = await custody.save(made.id)
    return message


def _describe(engine: Engine, session_id: str, owner: str) -> SessionInfo:
    return engine.registry.describe(engine.session(session_id, owner=owner))


def _create(engine: Engine, model: str, seed: int | None, ttl_s: float | None, owner: str) -> SessionInfo:
    return engine.registry.describe(engine.create_session(model, seed=seed, ttl_s=ttl_s, owner=owner))


def _fork(
    engine: Engine, session_id: str, seeds: list[int | None], expected: int | None, owner: str
) -> list[SessionInfo]:
    made: list[Session] = engine.fork_session(session_id, seeds, expected=expected, owner=owner)
    return [engine.registry.describe(each) for each in made]


def _rewind(engine: Engine, session_id: str, position: int, expected: int | None, owner: str) -> SessionInfo:
    return engine.registry.describe(engine.rewind_session(session_id, position, expected=expected, owner=owner))


def _put_in(engine: Engine, content: Content, seed: int | None, ttl_s: float) -> SessionInfo:
    return engine.registry.describe(engine.put_in_session(content, seed=seed, ttl_s=ttl_s))

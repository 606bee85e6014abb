"""SessionService: sessions are made, described, listed, copied, rewound, moved and ended."""

import asyncio
from contextlib import AbstractContextManager
from functools import partial

import grpc

from unrolled.v1 import session_pb2 as wire
from unrolled.v1.session_pb2_grpc import SessionServiceServicer
from unrolled_service.bridge.workers import Workers
from unrolled_service.engine import Engine
from unrolled_service.metrics import Metrics
from unrolled_service.rpc.convert import (
    read_forks,
    read_idempotency_key,
    read_page,
    read_snapshot,
    read_ttl,
    write_session,
)
from unrolled_service.rpc.fields import read_model, read_optional, read_session_id
from unrolled_service.rpc.preemption import preempting
from unrolled_service.rpc.tenant import tenant_of
from unrolled_service.sessions.session import Session, SessionInfo
from unrolled_service.settings import Settings
from unrolled_service.snapshots.snapshot import Content
from unrolled_service.storage.custody import Custody
from unrolled_service.storage.idempotency import Idempotency
from unrolled_service.tenants.quotas import Quotas


class SessionService(SessionServiceServicer):
    """Serves the sessions of all workers."""

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
        self, request: wire.CreateSessionRequest, context: grpc.aio.ServicerContext
    ) -> wire.CreateSessionResponse:
        """Make a session at position 0."""
        model = read_model(request.model)
        seed, ttl_s = read_optional(request, "seed"), self._read_ttl(request)
        owner = tenant_of(context)

        async def make() -> wire.CreateSessionResponse:
            worker = self._workers.for_session()
            with self._reserve(owner):
                made = await worker.driver.call(_create, worker.engine, model, seed, ttl_s, owner)
            await self._custody.save(made.id)
            return wire.CreateSessionResponse(session=write_session(made))

        return await self._idempotency.once(read_idempotency_key(request.idempotency_key), request, make)

    async def GetSession(self, request: wire.GetSessionRequest, _: grpc.aio.ServicerContext) -> wire.GetSessionResponse:
        """Describe a session."""
        session_id = read_session_id(request.session_id)
        worker = await self._custody.hold(session_id, lease_s=0.0)
        found = await worker.driver.call(_describe, worker.engine, session_id)
        return wire.GetSessionResponse(session=write_session(found))

    async def ListSessions(
        self, request: wire.ListSessionsRequest, _: grpc.aio.ServicerContext
    ) -> wire.ListSessionsResponse:
        """List a page of sessions."""
        after, limit = read_page(request.page_size, request.page_token)
        found = await self._workers.sessions(after, limit + 1)
        page = found[:limit]
        token = str(page[-1].serial) if len(found) > limit else ""
        return wire.ListSessionsResponse(sessions=map(write_session, page), next_page_token=token)

    async def DeleteSession(
        self, request: wire.DeleteSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.DeleteSessionResponse:
        """End a session."""
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await self._custody.hold(session_id, lease_s=0.0)

        async def end() -> None:
            await worker.driver.call(worker.engine.check_idle, session_id, expected=expected)
            await self._custody.delete(session_id)
            await worker.driver.call(worker.engine.delete_session, session_id, expected=expected)

        await (preempting(worker, session_id, end) if request.preempt else end())
        return wire.DeleteSessionResponse()

    async def ForkSession(
        self, request: wire.ForkSessionRequest, context: grpc.aio.ServicerContext
    ) -> wire.ForkSessionResponse:
        """Make sessions that begin where one is."""
        session_id, seeds = read_session_id(request.session_id), read_forks(request)
        expected = read_optional(request, "expected_position")

        async def make() -> wire.ForkSessionResponse:
            worker = await self._custody.hold(session_id, lease_s=0.0)
            with self._reserve(tenant_of(context), len(seeds)):
                made = await worker.driver.call(_fork, worker.engine, session_id, seeds, expected)
            self._metrics.count_forks(len(made))
            for each in made:
                await self._custody.save(each.id)
            return wire.ForkSessionResponse(sessions=map(write_session, made))

        return await self._idempotency.once(read_idempotency_key(request.idempotency_key), request, make)

    async def RewindSession(
        self, request: wire.RewindSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.RewindSessionResponse:
        """Take a session back to a position that it had."""
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await self._custody.hold(session_id, lease_s=0.0)
        rewind = partial(worker.driver.call, _rewind, worker.engine, session_id, request.position, expected)
        now = await (preempting(worker, session_id, rewind) if request.preempt else rewind())
        await self._custody.save(session_id, rewound=True)
        return wire.RewindSessionResponse(session=write_session(now))

    async def ExportSnapshot(
        self, request: wire.ExportSnapshotRequest, _: grpc.aio.ServicerContext
    ) -> wire.ExportSnapshotResponse:
        """Return a session as signed bytes."""
        session_id = read_session_id(request.session_id)
        expected = read_optional(request, "expected_position")
        worker = await self._custody.hold(session_id, lease_s=0.0)
        content = await worker.driver.call(worker.engine.take_out_session, session_id, expected=expected)
        snapshot = await asyncio.to_thread(self._custody.sign, content)
        self._metrics.count_snapshot("export")
        return wire.ExportSnapshotResponse(snapshot=snapshot, position=content.position)

    async def ImportSnapshot(
        self, request: wire.ImportSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> wire.ImportSnapshotResponse:
        """Make a session of a snapshot."""
        seed, ttl_s = read_optional(request, "seed"), self._read_ttl(request) or self._settings.session_ttl_s
        snapshot, owner = read_snapshot(request.snapshot), tenant_of(context)

        async def make() -> wire.ImportSnapshotResponse:
            read = partial(self._custody.read, accept_other_numerics=request.accept_other_numerics)
            content = await asyncio.to_thread(read, snapshot)
            worker = self._workers.for_session()
            with self._reserve(owner):
                made = await worker.driver.call(_put_in, worker.engine, content, seed, ttl_s, owner)
            self._metrics.count_snapshot("import")
            await self._custody.save(made.id)
            return wire.ImportSnapshotResponse(session=write_session(made))

        return await self._idempotency.once(read_idempotency_key(request.idempotency_key), request, make)

    def _reserve(self, owner: str, number: int = 1) -> AbstractContextManager[None]:
        """Count sessions that are made while the block runs, or refuse to make them."""
        return self._quotas.sessions(owner, number, self._workers.owned_by(owner))

    def _read_ttl(self, request: wire.CreateSessionRequest | wire.ImportSnapshotRequest) -> float | None:
        return read_ttl(request.ttl, self._settings) if request.HasField("ttl") else None


def _describe(engine: Engine, session_id: str) -> SessionInfo:
    return engine.registry.describe(engine.session(session_id))


def _create(engine: Engine, model: str, seed: int | None, ttl_s: float | None, owner: str) -> SessionInfo:
    return engine.registry.describe(engine.create_session(model, seed=seed, ttl_s=ttl_s, owner=owner))


def _fork(engine: Engine, session_id: str, seeds: list[int | None], expected: int | None) -> list[SessionInfo]:
    made: list[Session] = engine.fork_session(session_id, seeds, expected=expected)
    return [engine.registry.describe(each) for each in made]


def _rewind(engine: Engine, session_id: str, position: int, expected: int | None) -> SessionInfo:
    return engine.registry.describe(engine.rewind_session(session_id, position, expected=expected))


def _put_in(engine: Engine, content: Content, seed: int | None, ttl_s: float, owner: str) -> SessionInfo:
    return engine.registry.describe(engine.put_in_session(content, seed=seed, ttl_s=ttl_s, owner=owner))

"""SessionService: sessions are made, described, listed and ended."""

import grpc

from unrolled.v1 import session_pb2 as wire
from unrolled.v1.session_pb2_grpc import SessionServiceServicer
from unrolled_service.convert import read_model, read_page, read_session_id, read_ttl, write_session
from unrolled_service.settings import Settings
from unrolled_service.workers import Workers


class SessionService(SessionServiceServicer):
    """Serves the sessions of all workers."""

    def __init__(self, workers: Workers, settings: Settings) -> None:
        self._workers = workers
        self._settings = settings

    async def CreateSession(
        self, request: wire.CreateSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.CreateSessionResponse:
        """Make a session at position 0."""
        model = read_model(request.model)
        seed = request.seed if request.HasField("seed") else None
        ttl_s = read_ttl(request.ttl, self._settings) if request.HasField("ttl") else None
        worker = self._workers.for_session()
        engine = worker.engine
        made = await worker.driver.call(lambda: engine.describe(engine.create_session(model, seed=seed, ttl_s=ttl_s)))
        return wire.CreateSessionResponse(session=write_session(made))

    async def GetSession(self, request: wire.GetSessionRequest, _: grpc.aio.ServicerContext) -> wire.GetSessionResponse:
        """Describe a session."""
        session_id = read_session_id(request.session_id)
        worker = self._workers.of_session(session_id)
        engine = worker.engine
        found = await worker.driver.call(lambda: engine.describe(engine.session(session_id)))
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
        worker = self._workers.of_session(session_id)
        await worker.driver.call(worker.engine.delete_session, session_id)
        return wire.DeleteSessionResponse()

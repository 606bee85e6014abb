"""SessionService: sessions are made, described, listed and ended."""

import grpc

from unrolled.v1 import session_pb2 as wire
from unrolled.v1.session_pb2_grpc import SessionServiceServicer
from unrolled_service.convert import read_model, read_page, read_session_id, read_ttl, write_session
from unrolled_service.driver import Driver
from unrolled_service.engine import Engine
from unrolled_service.settings import Settings


class SessionService(SessionServiceServicer):
    """Serves the sessions of one engine."""

    def __init__(self, engine: Engine, driver: Driver, settings: Settings) -> None:
        self._engine = engine
        self._driver = driver
        self._settings = settings

    async def CreateSession(
        self, request: wire.CreateSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.CreateSessionResponse:
        """Make a session at position 0."""
        model = read_model(request.model)
        seed = request.seed if request.HasField("seed") else None
        ttl_s = read_ttl(request.ttl, self._settings) if request.HasField("ttl") else None
        return wire.CreateSessionResponse(session=await self._driver.call(self._create, model, seed, ttl_s))

    async def GetSession(self, request: wire.GetSessionRequest, _: grpc.aio.ServicerContext) -> wire.GetSessionResponse:
        """Describe a session."""
        session_id = read_session_id(request.session_id)
        return wire.GetSessionResponse(session=await self._driver.call(self._get, session_id))

    async def ListSessions(
        self, request: wire.ListSessionsRequest, _: grpc.aio.ServicerContext
    ) -> wire.ListSessionsResponse:
        """List a page of sessions."""
        after, limit = read_page(request.page_size, request.page_token)
        return await self._driver.call(self._list, after, limit)

    async def DeleteSession(
        self, request: wire.DeleteSessionRequest, _: grpc.aio.ServicerContext
    ) -> wire.DeleteSessionResponse:
        """End a session."""
        await self._driver.call(self._engine.delete_session, read_session_id(request.session_id))
        return wire.DeleteSessionResponse()

    def _create(self, model: str, seed: int | None, ttl_s: float | None) -> wire.Session:
        session = self._engine.create_session(model, seed=seed, ttl_s=ttl_s)
        return write_session(session, self._engine.seconds_left(session))

    def _get(self, session_id: str) -> wire.Session:
        session = self._engine.session(session_id)
        return write_session(session, self._engine.seconds_left(session))

    def _list(self, after: int, limit: int) -> wire.ListSessionsResponse:
        page = self._engine.sessions(after, limit + 1)
        shown = [write_session(session, self._engine.seconds_left(session)) for session in page[:limit]]
        is_last = len(page) <= limit
        token = "" if is_last else str(page[limit - 1].serial)
        return wire.ListSessionsResponse(sessions=shown, next_page_token=token)

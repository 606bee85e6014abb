"""GenerationService: one call, one stream."""

import asyncio
import time
from typing import Any

import grpc

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.generation_pb2_grpc import GenerationServiceServicer
from unrolled_service.convert import read_generation, read_model, read_session_id, write_chunk, write_finish
from unrolled_service.driver import Driver
from unrolled_service.engine import Engine
from unrolled_service.errors import ReaderStalled
from unrolled_service.metrics import Metrics
from unrolled_service.outbox import Outbox
from unrolled_service.settings import Settings
from unrolled_service.stream import Generation, Stream


class GenerationService(GenerationServiceServicer):
    """Serves generations from one engine."""

    def __init__(self, engine: Engine, driver: Driver, metrics: Metrics, settings: Settings) -> None:
        self._engine = engine
        self._driver = driver
        self._metrics = metrics
        self._settings = settings

    async def Generate(self, request: wire.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Stream a generation. However the call ends, the row is free within one slice."""
        arrived = time.monotonic()
        model = await self._resolve(request)
        generation = read_generation(request, self._engine.lane(model).bundle.vocabulary, self._settings)
        claim = _Claim(self._engine, self._metrics)
        try:
            await self._driver.call(claim.open, model, generation, arrived)
            await self._relay(claim.outbox, context)
        except asyncio.CancelledError:
            self._driver.post(claim.close, "cancelled")
            raise
        except Exception:
            self._driver.post(claim.close, "error")
            raise
        self._driver.post(claim.close)

    async def _resolve(self, request: wire.GenerateRequest) -> str:
        """Return the name of the bundle that the request is about; the session's if it names none."""
        model = read_model(request.model)
        if model or not request.session_id:
            return model
        session = await self._driver.call(self._engine.session, read_session_id(request.session_id))
        return session.model

    async def _relay(self, outbox: Outbox, context: grpc.aio.ServicerContext) -> None:
        """Write what the outbox gets until the finish; one write at a time."""
        while True:
            parcel = await outbox.take()
            if parcel.text:
                try:
                    await self._write(context, write_chunk(parcel))
                finally:  # sent is sent: a reader that comes back still finds it in the transport
                    outbox.delivered = parcel.position
                self._driver.wake()
            if parcel.error:
                raise parcel.error
            if parcel.finish:
                outbox.delivered = parcel.position
                await self._write(context, write_finish(parcel.finish))
                return

    async def _write(self, context: grpc.aio.ServicerContext, message: Any) -> None:
        limit_s = self._settings.stall_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await context.write(message)
        except TimeoutError:
            raise ReaderStalled(f"the reader took nothing for {limit_s:g} s") from None


class _Claim:
    """A stream that is closed even if its caller goes away while it is being opened.

    Both methods run on the engine's thread, in the order in which they were sent there.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.outbox = Outbox()
        self._engine = engine
        self._metrics = metrics
        self._stream: Stream | None = None

    def open(self, model: str, generation: Generation, arrived: float) -> None:
        self._stream = self._engine.submit(model, generation, self.outbox, arrived=arrived)

    def close(self, broken: str = "") -> None:
        if self._stream is None:
            return
        if broken and self._stream.finish is None:
            self._metrics.count_broken_stream(self._stream.lane, broken)
        self._engine.close(self._stream)

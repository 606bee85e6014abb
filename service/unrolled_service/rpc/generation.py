"""GenerationService: one call, one row."""

import asyncio
import time
from typing import cast

import grpc

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.generation_pb2_grpc import GenerationServiceServicer
from unrolled_service.convert import (
    read_generation,
    read_model,
    read_scoring,
    read_session_id,
    write_chunk,
    write_finish,
    write_score,
)
from unrolled_service.driver import Driver
from unrolled_service.engine import Engine
from unrolled_service.errors import ReaderStalled
from unrolled_service.metrics import Metrics
from unrolled_service.outbox import Outbox, split
from unrolled_service.row import Row
from unrolled_service.scoring import Score, Scoring
from unrolled_service.settings import Settings
from unrolled_service.stream import Finish, Generation
from unrolled_service.vocabulary import Vocabulary
from unrolled_service.workers import Workers


class GenerationService(GenerationServiceServicer):
    """Serves generations and scores."""

    def __init__(self, workers: Workers, metrics: Metrics, settings: Settings) -> None:
        self._workers = workers
        self._metrics = metrics
        self._settings = settings

    async def Generate(self, request: wire.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Stream a generation. However the call ends, the row is free within one slice."""
        arrived = time.monotonic()
        session_id = read_session_id(request.session_id) if request.session_id else None
        worker = self._workers.of_session(session_id) if session_id else self._workers.for_stream()
        model = read_model(request.model)
        if session_id and not model:
            model = (await worker.driver.call(worker.engine.session, session_id)).model
        vocabulary = worker.engine.lane(model).bundle.vocabulary
        generation = read_generation(request, vocabulary, self._settings)
        claim = _Claim(worker.engine)
        try:
            worker.driver.open(claim.open_stream, claim.outbox, model, generation, arrived)
            await self._relay(claim.outbox, worker.driver, vocabulary, request.max_chunk_tokens, context)
        except asyncio.CancelledError:
            worker.driver.post(self._abandon, claim, "cancelled")
            raise
        except Exception:
            worker.driver.post(self._abandon, claim, "error")
            raise
        worker.driver.post(claim.close)

    async def Score(self, request: wire.ScoreRequest, _: grpc.aio.ServicerContext) -> wire.ScoreResponse:
        """Score a text."""
        worker = self._workers.for_stream()
        model = read_model(request.model)
        vocabulary = worker.engine.lane(model).bundle.vocabulary
        scoring = read_scoring(request, vocabulary, self._settings)
        claim = _Claim(worker.engine)
        try:
            worker.driver.open(claim.open_scoring, claim.outbox, model, scoring)
            parcel = await claim.outbox.take()
        finally:
            worker.driver.post(claim.close)
        if parcel.error:
            raise parcel.error
        return write_score(cast(Score, parcel.finish), request.text, vocabulary)

    def _abandon(self, claim: "_Claim", end: str) -> None:
        """Count a stream that did not finish, and close it. On the engine's thread."""
        if claim.row is not None and not claim.row.is_finished:
            self._metrics.count_broken_stream(claim.row.lane, end)
        claim.close()

    async def _relay(
        self,
        outbox: Outbox,
        driver: Driver,
        vocabulary: Vocabulary,
        chunk_tokens: int,
        context: grpc.aio.ServicerContext,
    ) -> None:
        """Write what the outbox gets until the finish; one write at a time."""
        limit_s = self._settings.stall_timeout_s
        try:
            with outbox.watch(limit_s):
                while True:
                    parcel = await outbox.take()
                    for piece in split(parcel, chunk_tokens):
                        await outbox.write(context.write(write_chunk(piece, vocabulary)), piece.position)
                    driver.wake()  # a row that rests may go on
                    if parcel.error:
                        raise parcel.error
                    if parcel.finish:
                        outbox.delivered = parcel.position
                        await outbox.write(context.write(write_finish(cast(Finish, parcel.finish))), parcel.position)
                        return
        except TimeoutError:
            raise outbox.error or ReaderStalled(f"the reader took nothing for {limit_s:g} s") from None


class _Claim:
    """A row that is closed even if its caller goes away while it is being opened.

    The methods run on the engine's thread, in the order in which they were sent there.
    """

    def __init__(self, engine: Engine) -> None:
        self.outbox = Outbox()
        self.row: Row | None = None
        self._engine = engine

    def open_stream(self, model: str, generation: Generation, arrived: float) -> None:
        self.row = self._engine.submit(model, generation, self.outbox, arrived=arrived)

    def open_scoring(self, model: str, scoring: Scoring) -> None:
        self.row = self._engine.submit_scoring(model, scoring, self.outbox)

    def close(self) -> None:
        if self.row is not None:
            self._engine.close(self.row)

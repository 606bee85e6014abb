"""GenerationService: one call, one row."""

import asyncio
import time
from functools import partial
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
from unrolled_service.custody import Custody
from unrolled_service.engine import Engine
from unrolled_service.errors import ReaderStalled, UnrolledError
from unrolled_service.keeper import Keeper
from unrolled_service.metrics import Metrics
from unrolled_service.outbox import Outbox, split
from unrolled_service.row import Row
from unrolled_service.rpc.preemption import preempting
from unrolled_service.scoring import Score, Scoring
from unrolled_service.settings import Settings
from unrolled_service.stream import Finish, Generation
from unrolled_service.vocabulary import Vocabulary
from unrolled_service.workers import Worker, Workers


class GenerationService(GenerationServiceServicer):
    """Serves generations and scores."""

    def __init__(self, workers: Workers, custody: Custody, metrics: Metrics, settings: Settings) -> None:
        self._workers = workers
        self._custody = custody
        self._metrics = metrics
        self._settings = settings

    async def Generate(self, request: wire.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Stream a generation. However the call ends, the row is free within one slice."""
        arrived = time.monotonic()
        session_id = read_session_id(request.session_id) if request.session_id else None
        model = read_model(request.model)
        worker = await self._custody.hold(session_id) if session_id else self._workers.for_stream()
        claim = _Claim(worker, self._custody, session_id)
        keeper = Keeper(self._custody, session_id, claim.outbox, self._settings)
        try:
            if session_id and not model:
                model = (await worker.driver.call(worker.engine.session, session_id)).model
            vocabulary = worker.engine.lane(model).bundle.vocabulary
            generation = read_generation(request, vocabulary, self._settings)
            if session_id and request.preempt:
                await preempting(worker, session_id, partial(claim.take_over, model, generation, arrived))
            else:
                worker.driver.open(claim.open_stream, claim.outbox, model, generation, arrived)
            keeper.start()
            await self._relay(claim, keeper, vocabulary, request.max_chunk_tokens, context)
        except asyncio.CancelledError:
            self._abandon(claim, "cancelled")
            claim.save_later()
            raise
        except Exception:
            self._abandon(claim, "error")
            await claim.save()
            raise
        finally:
            keeper.stop()
            claim.outbox.closed.set()

    async def Score(self, request: wire.ScoreRequest, _: grpc.aio.ServicerContext) -> wire.ScoreResponse:
        """Score a text."""
        worker = self._workers.for_stream()
        model = read_model(request.model)
        vocabulary = worker.engine.lane(model).bundle.vocabulary
        scoring = read_scoring(request, vocabulary, self._settings)
        claim = _Claim(worker, self._custody, None)
        try:
            worker.driver.open(claim.open_scoring, claim.outbox, model, scoring)
            parcel = await claim.outbox.take()
        finally:
            worker.driver.post(claim.close)
        if parcel.error:
            raise parcel.error
        return write_score(cast(Score, parcel.finish), request.text, vocabulary)

    def _abandon(self, claim: "_Claim", end: str) -> None:
        """Close a stream that did not finish, and count it."""
        claim.worker.driver.post(self._close, claim, end)
        claim.outbox.closed.set()

    def _close(self, claim: "_Claim", end: str) -> None:
        if claim.row is not None and not claim.row.is_finished:  # on the engine's thread
            self._metrics.count_broken_stream(claim.row.lane, end)
        claim.close()

    async def _relay(
        self,
        claim: "_Claim",
        keeper: Keeper,
        vocabulary: Vocabulary,
        chunk_tokens: int,
        context: grpc.aio.ServicerContext,
    ) -> None:
        """Write what the outbox gets until the finish; one write at a time."""
        outbox, limit_s = claim.outbox, self._settings.stall_timeout_s
        is_begun = False
        try:
            with outbox.watch(limit_s):
                while True:
                    parcel = await outbox.take()
                    if not is_begun and (parcel.text or parcel.finish):
                        # By itself: a first message that is interrupted would make gRPC send this twice, and no status.
                        await context.send_initial_metadata(())
                        is_begun = True
                    for piece in split(parcel, chunk_tokens):
                        if keeper.is_overdue:
                            await keeper.confirm()
                        if outbox.is_ended:
                            break
                        await outbox.write(context.write(write_chunk(piece, vocabulary)), piece.position)
                        keeper.note(piece.position)
                    if outbox.error:
                        raise _placed(outbox.error, claim)
                    claim.worker.driver.wake()  # a row that rests may go on
                    if parcel.finish:
                        outbox.delivered = parcel.position
                        keeper.stop()
                        await claim.settle()
                        await outbox.write(context.write(write_finish(cast(Finish, parcel.finish))), parcel.position)
                        return
        except TimeoutError:
            stalled = ReaderStalled(f"the reader took nothing for {limit_s:g} s")
            raise _placed(outbox.error or stalled, claim) from None


def _placed(error: Exception, claim: "_Claim") -> Exception:
    """Return an error that says where the session is left, if there is one."""
    if claim.row is not None and claim.row.session and isinstance(error, UnrolledError):
        return error.at(claim.outbox.delivered)
    return error


class _Claim:
    """A row that is closed even if its caller goes away while it is being opened.

    ``open_stream``, ``open_scoring`` and ``close`` run on the engine's thread, in the order in which they were sent
    there; the others on the event loop.
    """

    def __init__(self, worker: Worker, custody: Custody, session_id: str | None) -> None:
        self.outbox = Outbox()
        self.row: Row | None = None
        self.worker = worker
        self._engine: Engine = worker.engine
        self._custody = custody
        self._session_id = session_id

    def open_stream(self, model: str, generation: Generation, arrived: float) -> None:
        self.row = self._engine.submit(model, generation, self.outbox, arrived=arrived)

    def open_scoring(self, model: str, scoring: Scoring) -> None:
        self.row = self._engine.submit_scoring(model, scoring, self.outbox)

    def close(self) -> None:
        if self.row is not None:
            self._engine.close(self.row)

    async def take_over(self, model: str, generation: Generation, arrived: float) -> None:
        """Open a stream in the place of another, which leaves no lease."""
        if self._session_id:
            await self._custody.hold(self._session_id)
        await self.worker.driver.call(self.open_stream, model, generation, arrived)

    async def settle(self) -> None:
        """Close the row, and store its session before its caller hears of the end."""
        self.worker.driver.post(self.close)
        if self._session_id:
            await self._custody.save(self._session_id)

    def save_later(self) -> None:
        """Store what the stream leaves without waiting for it."""
        if self._session_id:
            self._custody.save_later(self._session_id)

    async def save(self) -> None:
        """Store what the stream leaves, before its caller hears of the end; also if the caller goes away."""
        if self._session_id and self.row is None:
            await self._custody.release(self._session_id)
        elif self._session_id:
            await asyncio.shield(self._custody.save_later(self._session_id))

"""GenerationService: one call, one row."""

import time
from functools import partial
from typing import cast

import grpc

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.generation_pb2_grpc import GenerationServiceServicer
from unrolled_service.models import abilities
from unrolled_service.rows.scoring import Score
from unrolled_service.rpc.chunks import Chunks, check_origin
from unrolled_service.rpc.claim import Claims
from unrolled_service.rpc.convert import read_generation, read_scoring, write_finish, write_score
from unrolled_service.rpc.fields import read_model, read_optional, read_priority, read_session_id
from unrolled_service.rpc.relay import relay
from unrolled_service.settings import Settings


class GenerationService(GenerationServiceServicer):
    """Serves generations and scores."""

    def __init__(self, claims: Claims, settings: Settings) -> None:
        self._claims = claims
        self._settings = settings

    async def Generate(self, request: wire.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Stream a generation. However the call ends, the row is free within one slice."""
        arrived = time.monotonic()
        session_id = read_session_id(request.session_id) if request.session_id else None
        model = read_model(request.model)
        is_batch = read_priority(request.priority)
        expected = read_optional(request, "expected_position")
        async with self._claims.claim(session_id, expected) as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.GENERATE)
            claim.accept(
                bundle,
                fed=len(request.prompt) or len(request.prompt_vectors),
                given=request.max_tokens,
                is_batch=is_batch,
                left_s=context.time_remaining(),
                preempt=request.preempt,
            )
            check_origin(request.origin, bundle.host)
            generation = read_generation(request, bundle, self._settings)
            submit = partial(claim.engine.submit, bundle.host.key, generation, arrived=arrived)
            await claim.start(partial(submit, owner=claim.owner, terms=claim.terms), preempt=request.preempt)
            chunks = Chunks(bundle, request.max_chunk_tokens, wire.GenerateResponse)
            await relay(claim, context, self._settings.stall_timeout_s, chunks, write_end=write_finish)

    async def Score(self, request: wire.ScoreRequest, context: grpc.aio.ServicerContext) -> wire.ScoreResponse:
        """Score a text."""
        model, is_batch = read_model(request.model), read_priority(request.priority)
        async with self._claims.claim() as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.SCORE)
            left_s = context.time_remaining()
            claim.accept(bundle, fed=len(request.text), given=0, is_batch=is_batch, left_s=left_s)
            scoring = read_scoring(request, bundle, self._settings)
            submit = partial(claim.engine.submit_scoring, bundle.host.key, scoring, terms=claim.terms)
            await claim.start(submit)
            parcel = await claim.outbox.take()
            if parcel.error:
                raise parcel.error
            claim.close()
            return write_score(cast(Score, parcel.finish), request.text, bundle)

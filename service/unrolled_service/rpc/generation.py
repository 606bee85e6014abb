"""GenerationService: one call, one row."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import grpc

from unrolled.v1 import generation_pb2 as wire
from unrolled.v1.generation_pb2_grpc import GenerationServiceServicer
from unrolled_service.bridge.outbox import Parcel, split
from unrolled_service.models import abilities
from unrolled_service.rows.scoring import Score
from unrolled_service.rpc.claim import Claims
from unrolled_service.rpc.convert import read_generation, read_scoring, write_chunk, write_finish, write_score
from unrolled_service.rpc.fields import read_model, read_session_id
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
        async with self._claims.claim(session_id) as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.GENERATE)
            generation = read_generation(request, bundle, self._settings)

            def pieces(parcel: Parcel) -> Iterator[tuple[Parcel, Any]]:
                return ((each, write_chunk(each, bundle)) for each in split(parcel, request.max_chunk_tokens))

            submit = partial(claim.engine.submit, model, generation, arrived=arrived, owner=claim.owner)
            await claim.start(submit, preempt=request.preempt)
            await relay(claim, context, self._settings.stall_timeout_s, pieces, write_end=write_finish)

    async def Score(self, request: wire.ScoreRequest, _: grpc.aio.ServicerContext) -> wire.ScoreResponse:
        """Score a text."""
        model = read_model(request.model)
        async with self._claims.claim(None) as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.SCORE)
            scoring = read_scoring(request, bundle, self._settings)
            await claim.start(partial(claim.engine.submit_scoring, model, scoring))
            parcel = await claim.outbox.take()
            if parcel.error:
                raise parcel.error
            claim.close()
            return write_score(cast(Score, parcel.finish), request.text, bundle)

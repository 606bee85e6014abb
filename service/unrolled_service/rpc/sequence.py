"""SequenceService: sequences answered step by step, as a whole, or with another sequence."""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TypeVar, cast

import grpc

from unrolled.v1 import sequence_pb2 as wire
from unrolled.v1.sequence_pb2_grpc import SequenceServiceServicer
from unrolled_service.errors import InvalidField
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Answer
from unrolled_service.rows.finish import Finish
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rpc.chunks import Chunks, check_origin
from unrolled_service.rpc.claim import Claim, Claims
from unrolled_service.rpc.convert_sequences import (
    read_more,
    read_reading,
    read_transduction,
    write_classification,
    write_steps,
    write_target_end,
)
from unrolled_service.rpc.feeder import Feeder
from unrolled_service.rpc.fields import read_model, read_optional, read_priority, read_session_id
from unrolled_service.rpc.relay import relay
from unrolled_service.settings import Settings

_R = TypeVar("_R", wire.StepRequest, wire.ClassifyRequest)


class SequenceService(SequenceServiceServicer):
    """Serves readings and transductions."""

    def __init__(self, claims: Claims, settings: Settings) -> None:
        self._claims = claims
        self._settings = settings

    async def Step(self, requests: AsyncIterator[wire.StepRequest], context: grpc.aio.ServicerContext) -> None:
        """Answer inputs one by one."""
        first, model, session_id = await _open(requests)
        expected = read_optional(first.opening, "expected_position")
        async with self._claims.claim(session_id, expected) as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.STEP)
            feeder = await _start(claim, first, requests, bundle, context)
            async with feeder.reading():
                limit_s = self._settings.stall_timeout_s
                await relay(claim, context, limit_s, partial(write_steps, bundle=bundle), on_parcel=feeder.note)
            if feeder.error:
                raise claim.placed(feeder.error)

    async def Classify(
        self, requests: AsyncIterator[wire.ClassifyRequest], context: grpc.aio.ServicerContext
    ) -> wire.ClassifyResponse:
        """Answer a sequence as a whole."""
        first, model, session_id = await _open(requests)
        expected = read_optional(first.opening, "expected_position")
        async with self._claims.claim(session_id, expected) as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.CLASSIFY)
            limit = self._settings.max_prompt_tokens
            feeder = await _start(claim, first, requests, bundle, context, limit=limit)
            async with feeder.reading():
                parcel = await claim.outbox.take()
                while not (parcel.finish or claim.outbox.error):
                    feeder.note(parcel)
                    parcel = await claim.outbox.take()
            if error := claim.outbox.error or feeder.error:
                raise claim.placed(error)
            if not parcel.items:
                raise InvalidField("inputs", "must have at least 1 input")
            finish = cast(Finish, parcel.finish)
            await claim.settle(finish)
            return write_classification(cast(Answer, parcel.items[0]), finish, bundle)

    async def Transduce(self, request: wire.TransduceRequest, context: grpc.aio.ServicerContext) -> None:
        """Answer a sequence with another one."""
        arrived = time.monotonic()
        model, is_batch = read_model(request.model), read_priority(request.priority)
        async with self._claims.claim() as claim:
            bundle = await claim.bundle(model)
            abilities.check_method(bundle, abilities.TRANSDUCE)
            fed, left_s = len(request.source.text) or len(request.source.vectors), context.time_remaining()
            claim.accept(bundle, fed=fed, given=request.max_tokens, is_batch=is_batch, left_s=left_s)
            check_origin(request.origin, bundle.host)
            source, generation = read_transduction(request, bundle, self._settings)
            key = bundle.host.key
            submit = partial(claim.engine.submit_transduction, key, source, generation, arrived=arrived)
            await claim.start(partial(submit, terms=claim.terms))
            chunks = Chunks(bundle, request.max_chunk_tokens, wire.TransduceResponse)
            await relay(claim, context, self._settings.stall_timeout_s, chunks, write_end=write_target_end)


async def _open(requests: AsyncIterator[_R]) -> tuple[_R, str, str | None]:
    """Return the first message, and the model and session that it names."""
    async for first in requests:
        opening = first.opening
        session_id = opening.session_id or None
        if session_id:
            read_session_id(session_id, field="opening.session_id")
        return first, read_model(opening.model, field="opening.model"), session_id
    raise InvalidField("inputs", "must have at least 1 input")


async def _start(
    claim: Claim,
    first: _R,
    requests: AsyncIterator[_R],
    bundle: Bundle,
    context: grpc.aio.ServicerContext,
    *,
    limit: int | None = None,
) -> Feeder:
    """Open the row of a reading, and return what feeds it."""
    opening = first.opening
    claim.accept(
        bundle,
        fed=len(first.inputs.text) or len(first.inputs.vectors),
        given=0,
        is_batch=read_priority(opening.priority, field="opening.priority"),
        left_s=context.time_remaining(),
        preempt=opening.preempt,
    )
    reading = read_reading(first, bundle)

    def check_total(count: int) -> None:
        if limit is not None and count > limit:
            raise InvalidField("inputs", f"must be at most {limit} in all messages of a call together")

    def read(request: _R) -> Inputs:
        if request.HasField("opening"):
            raise InvalidField("opening", "must be unset in a message that is not the first")
        inputs = read_more(request, bundle)
        check_total(feeder.fed + len(inputs))
        return inputs

    check_total(len(reading.inputs))

    feeder: Feeder = Feeder(claim, requests, read, len(reading.inputs))
    submit = partial(claim.engine.submit_reading, bundle.host.key, reading, arrived=time.monotonic())
    await claim.start(partial(submit, owner=claim.owner, terms=claim.terms), preempt=opening.preempt)
    return feeder

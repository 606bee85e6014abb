"""The messages of SequenceService to checked values, and values to messages."""

from collections.abc import Iterator

import numpy as np

from unrolled.v1 import sequence_pb2 as wire
from unrolled.v1.bundle_pb2 import MODALITY_LABEL
from unrolled_service.bridge.outbox import Parcel, split
from unrolled_service.errors import InvalidField
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.delivery import Answer
from unrolled_service.rows.finish import Finish
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.rpc.convert import (
    read_budget,
    read_logprobs,
    read_sampling,
    read_stops,
    write_finish,
)
from unrolled_service.rpc.fields import (
    MAX_INPUTS,
    read_activations,
    read_chunk_limit,
    read_inputs,
    read_optional,
    read_session_id,
    softmax,
)
from unrolled_service.settings import Settings


def read_reading(request: wire.StepRequest | wire.ClassifyRequest, bundle: Bundle) -> Reading:
    """Return the checked first message of a call.

    Raises:
        InvalidField, UnknownCharacter: naming the field and the limit.
    """
    opening = request.opening
    return Reading(
        inputs=read_more(request, bundle, is_first=request.HasField("opening")),
        is_stepwise=isinstance(request, wire.StepRequest),
        session_id=read_session_id(opening.session_id, field="opening.session_id") if opening.session_id else None,
        expected_position=read_optional(opening, "expected_position"),
        traced=read_activations(opening, bundle.states, field="opening.activations"),
    )


def read_more(request: wire.StepRequest | wire.ClassifyRequest, bundle: Bundle, *, is_first: bool = False) -> Inputs:
    """Return the checked inputs of a message: int64[N] or f32[N, F].

    Raises:
        InvalidField, UnknownCharacter: naming the field and the limit.
    """
    inputs = read_inputs(request.inputs, bundle.manifest.input, bundle.vocabulary, MAX_INPUTS, field="inputs")
    if not len(inputs) and not is_first:
        raise InvalidField("inputs", "must have at least 1 input")
    return inputs


def read_transduction(request: wire.TransduceRequest, bundle: Bundle, settings: Settings) -> tuple[Inputs, Generation]:
    """Return the checked source, and how its target is generated.

    Raises:
        InvalidField, UnknownCharacter: naming the field and the limit.
    """
    encoder = bundle.encoder
    if encoder is None:
        raise ValueError(f"{bundle.name} has no encoder")
    reads = bundle.manifest.encoder.input
    source = read_inputs(request.source, reads, encoder.vocabulary, settings.max_prompt_tokens, field="source")
    if not len(source):
        raise InvalidField("source", "must have at least 1 input")
    gives_tokens = abilities.gives_tokens(bundle)
    if not gives_tokens:
        for name in ("sampling", "stop", "logprobs"):
            if request.HasField(name) if name == "sampling" else getattr(request, name):
                raise InvalidField(name, "must be unset: the bundle generates vectors")
    greedy = Sampling(temperature=0.0)
    generation = Generation(
        prompt=np.empty(0, np.int64) if gives_tokens else np.empty((0, bundle.manifest.input.width), np.float32),
        max_tokens=read_budget(request.max_tokens, bundle, settings),
        sampling=read_sampling(request.sampling, bundle.vocabulary) if request.HasField("sampling") else greedy,
        stops=read_stops(request.stop),
        seed=read_optional(request, "seed"),
        logprobs=read_logprobs(request.logprobs, bundle.vocabulary),
        max_chunk_tokens=read_chunk_limit(request.max_chunk_tokens),
        end=abilities.end(bundle),
    )
    return source, generation


def write_steps(parcel: Parcel, bundle: Bundle) -> Iterator[tuple[Parcel, wire.StepResponse]]:
    """Yield the answers of a parcel in pieces, each with its message."""
    for piece in split(parcel, 0):
        outputs = [write_output(item, bundle) for item in piece.items if isinstance(item, Answer)]
        yield piece, wire.StepResponse(outputs=outputs, position=piece.position)


def write_classification(answer: Answer, finish: Finish, bundle: Bundle) -> wire.ClassifyResponse:
    """Return the message of an answer to everything read."""
    return wire.ClassifyResponse(
        output=write_output(answer, bundle), inputs=finish.prompt_tokens, position=finish.position
    )


def write_output(answer: Answer, bundle: Bundle) -> wire.Output:
    """Return the message of one output."""
    port = bundle.manifest.output
    if port.modality != MODALITY_LABEL:
        return wire.Output(values=answer.values, activations=answer.activations)
    likeliest = max(range(port.width), key=answer.values.__getitem__)
    return wire.Output(
        label=port.names[likeliest], probabilities=softmax(answer.values), activations=answer.activations
    )


def write_target_end(finish: Finish) -> wire.TransduceResponse:
    """Return the message of the end of a target."""
    return wire.TransduceResponse(finish=write_finish(finish).finish)

"""Builds the calls that generate, score and describe bundles.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict

from unrolled.v1 import generation_pb2, model_pb2
from unrolled_client.values import ModelInfo, Sampling, Score
from unrolled_client.wire import replies
from unrolled_client.wire.calls import GenerateCall, UnaryCall


class GenerateOptions(TypedDict, total=False):
    """The optional keywords of every generate method; None is the same as not given.

    model: name of the bundle; may be left out while one is served, or on a session.
    sampling: the choices below as one value; a choice given beside it wins.
    temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias: see
        Sampling.
    stop: texts that end the generation and are not part of it, at most 8 of 1 to 64 characters.
    seed: seed of the draws, 0 to 2^64 - 1; otherwise the session's, or one drawn for the call. The finish says it.
    expected_position: position that the session must have for the call to act.
    logprobs: how many of the most probable tokens to describe beside each chosen one, at most 20.
    resumed_tokens: how many tokens at the end of the prompt a call that broke off had generated.
    max_chunk_tokens: most tokens that a piece carries; 1 gives each character by itself, at the price of throughput.
    preempt: stop a stream that runs on the session, in place of being refused.
    resume: False makes a break of the stream final; otherwise the client's policy holds.
    timeout: seconds that the whole stream may take with all its resuming; unlimited otherwise.
    """

    model: str | None
    sampling: Sampling | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    stop: str | Sequence[str] | None
    seed: int | None
    expected_position: int | None
    logprobs: int | None
    resumed_tokens: int | None
    max_chunk_tokens: int | None
    preempt: bool | None
    resume: bool | None
    timeout: float | None


def generate(
    prompt: str,
    *,
    max_tokens: int,
    session_id: str | None = None,
    model: str | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    expected_position: int | None = None,
    logprobs: int | None = None,
    resumed_tokens: int | None = None,
    max_chunk_tokens: int | None = None,
    preempt: bool | None = None,
    resume: bool | None = None,
    timeout: float | None = None,
    **choices: Any,
) -> GenerateCall:
    """Build a Generate call; the keywords are described in GenerateOptions.

    Raises:
        TypeError: a keyword is unknown or a value has the wrong type.
        ValueError: a number does not fit its wire type, or a text is not valid Unicode.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    chosen = {
        name: value for name, value in asdict(replace(sampling or Sampling(), **given)).items() if value is not None
    }
    return GenerateCall(
        request=generation_pb2.GenerateRequest(
            model=model,
            session_id=session_id,
            prompt=prompt,
            max_tokens=max_tokens,
            sampling=generation_pb2.Sampling(**chosen) if chosen else None,
            stop=(stop,) if isinstance(stop, str) else stop,
            seed=seed,
            logprobs=logprobs,
            expected_position=expected_position,
            resumed_tokens=resumed_tokens,
            max_chunk_tokens=max_chunk_tokens,
            preempt=bool(preempt),
        ),
        timeout=timeout,
        is_resumable=resume is not False,
    )


def with_seed(call: GenerateCall, seed: int) -> GenerateCall:
    """Return a call with this seed where it has none of its own."""
    if call.request.HasField("seed"):
        return call
    seeded = generation_pb2.GenerateRequest(seed=seed)
    seeded.MergeFrom(call.request)
    return replace(call, request=seeded)


def score(
    text: str,
    *,
    model: str | None = None,
    logprobs: int | None = None,
    per_token: bool = False,
    timeout: float | None = None,
) -> UnaryCall[Score]:
    """Build a Score call; logprobs describes so many of the most probable tokens beside each one of the text."""
    request = generation_pb2.ScoreRequest(model=model, text=text, logprobs=logprobs, per_token=per_token)
    return UnaryCall(
        "generation", "Score", request, replies.score, has_own_timeout=True, timeout=timeout, is_repeatable=True
    )


def list_models() -> UnaryCall[tuple[ModelInfo, ...]]:
    """Build a ListModels call."""
    request = model_pb2.ListModelsRequest()
    return UnaryCall("models", "ListModels", request, replies.model_infos, is_repeatable=True)


def get_model(name: str | None = None) -> UnaryCall[ModelInfo]:
    """Build a GetModel call; without a name it asks for the only bundle served."""
    request = model_pb2.GetModelRequest(model=name)
    return UnaryCall("models", "GetModel", request, lambda reply: replies.model_info(reply.model), is_repeatable=True)

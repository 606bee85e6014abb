"""Builds the calls that generate, score and describe bundles.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from unrolled.v1 import generation_pb2, model_pb2
from unrolled_client.answers import Condition, Numbers, Watched
from unrolled_client.models import ModelInfo
from unrolled_client.values import Priority, Sampling, Score
from unrolled_client.wire import manifests, replies, vectors
from unrolled_client.wire.calls import UnaryCall, WritingCall


def generate(
    prompt: str,
    *,
    max_tokens: int | None = None,
    session_id: str | None = None,
    model: str | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    logprobs: int | None = None,
    max_chunk_tokens: int | None = None,
    resume: bool | None = None,
    priority: Priority | None = None,
    timeout: float | None = None,
    condition: Condition | None = None,
    prompt_vectors: Iterable[Numbers] | None = None,
    activations: Watched | None = None,
    expected_position: int | None = None,
    resumed_tokens: int | None = None,
    preempt: bool | None = None,
    **choices: Any,
) -> WritingCall:
    """Build a Generate call; the keywords are described in GenerateOptions.

    Raises:
        TypeError: a keyword is unknown or a value has the wrong type.
        ValueError: a number does not fit its wire type, a text is not valid Unicode, or there is no such priority.
    """
    request = generation_pb2.GenerateRequest(
        model=model,
        session_id=session_id,
        prompt=prompt,
        max_tokens=max_tokens,
        sampling=to_sampling(sampling, choices),
        stop=(stop,) if isinstance(stop, str) else stop,
        seed=seed,
        logprobs=logprobs,
        expected_position=expected_position,
        resumed_tokens=resumed_tokens,
        max_chunk_tokens=max_chunk_tokens,
        preempt=bool(preempt),
        condition=vectors.conditioning(condition),
        prompt_vectors=vectors.vectors(prompt_vectors),
        activations=vectors.activations(activations),
        priority=to_priority(priority),
    )
    return WritingCall(request, timeout, is_resumable=resume is not False)


def to_priority(name: Priority | None) -> str | None:
    """Return the name on the wire, which the message that it is put into checks; None leaves it to the server."""
    return None if name is None else f"PRIORITY_{name.upper()}"


def to_sampling(sampling: Sampling | None, choices: Mapping[str, Any]) -> generation_pb2.Sampling | None:
    """Write how to choose tokens: a choice wins over the same one in `sampling`; None where nothing is chosen.

    Raises:
        TypeError: there is no such choice.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    every = asdict(replace(sampling or Sampling(), **given))
    chosen = {name: value for name, value in every.items() if value is not None}
    return generation_pb2.Sampling(**chosen) if chosen else None


def score(
    text: str,
    *,
    model: str | None = None,
    logprobs: int | None = None,
    per_token: bool | None = None,
    activations: Watched | None = None,
    condition: Condition | None = None,
    priority: Priority | None = None,
    timeout: float | None = None,
) -> UnaryCall[Score]:
    """Build a Score call; the keywords are described in ScoreOptions."""
    request = generation_pb2.ScoreRequest(
        model=model,
        text=text,
        logprobs=logprobs,
        per_token=bool(per_token),
        activations=vectors.activations(activations),
        condition=vectors.conditioning(condition),
        priority=to_priority(priority),
    )
    return UnaryCall(
        "generation", "Score", request, replies.score, has_own_timeout=True, timeout=timeout, is_repeatable=True
    )


def list_models() -> UnaryCall[tuple[ModelInfo, ...]]:
    """Build a ListModels call."""
    request = model_pb2.ListModelsRequest()
    return UnaryCall("models", "ListModels", request, manifests.model_infos, is_repeatable=True)


def get_model(name: str | None = None) -> UnaryCall[ModelInfo]:
    """Build a GetModel call; without a name it asks for the only bundle served."""
    request = model_pb2.GetModelRequest(model=name)
    return UnaryCall("models", "GetModel", request, lambda reply: manifests.model_info(reply.model), is_repeatable=True)

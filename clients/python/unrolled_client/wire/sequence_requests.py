"""Builds the calls that read sequences and answer them.

What a caller leaves unset stays unset on the wire, so that the server's defaults apply.
"""

from collections.abc import Sequence
from typing import Any

from unrolled.v1 import sequence_pb2
from unrolled_client.answers import Classification, Item, Watched
from unrolled_client.values import Priority, Sampling
from unrolled_client.wire import replies, vectors
from unrolled_client.wire.calls import StepCall, UnaryCall, WritingCall
from unrolled_client.wire.feed import AsyncGiven, Feed
from unrolled_client.wire.inputs import cut
from unrolled_client.wire.requests import to_priority, to_sampling


def step(
    inputs: AsyncGiven,
    *,
    model: str | None = None,
    activations: Watched | None = None,
    priority: Priority | None = None,
    timeout: float | None = None,
    session_id: str | None = None,
    expected_position: int | None = None,
    preempt: bool | None = None,
) -> StepCall:
    """Build a Step call; the keywords are described in ReadingOptions and SessionReadingOptions."""
    opening = _opening(model, session_id, expected_position, preempt, activations, priority)
    return StepCall(Feed(sequence_pb2.StepRequest, opening, inputs), session_id, timeout)


def classify(
    inputs: AsyncGiven,
    *,
    model: str | None = None,
    activations: Watched | None = None,
    priority: Priority | None = None,
    timeout: float | None = None,
    session_id: str | None = None,
    expected_position: int | None = None,
    preempt: bool | None = None,
) -> UnaryCall[Classification]:
    """Build a Classify call; the keywords are described in ReadingOptions and SessionReadingOptions.

    On a session it is not repeatable: a call whose answer was lost has moved the session on.
    """
    opening = _opening(model, session_id, expected_position, preempt, activations, priority)
    feed = Feed(sequence_pb2.ClassifyRequest, opening, inputs)
    return UnaryCall(
        "sequences",
        "Classify",
        feed,
        replies.classification,
        session_id,
        has_own_timeout=True,
        timeout=timeout,
        is_repeatable=feed.is_repeatable and session_id is None,
    )


def transduce(
    source: Item,
    *,
    max_tokens: int | None = None,
    model: str | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    logprobs: int | None = None,
    max_chunk_tokens: int | None = None,
    resume: bool | None = None,
    priority: Priority | None = None,
    timeout: float | None = None,
    **choices: Any,
) -> WritingCall:
    """Build a Transduce call; the keywords are described in WritingOptions.

    Raises:
        TypeError: a keyword is unknown or a value has the wrong type.
        ValueError: a number does not fit its wire type, a text is not valid Unicode, or there is no such priority.
    """
    whole = sequence_pb2.Inputs()
    for part in cut(source):
        whole.text += part.text
        whole.vectors.extend(part.vectors)
    request = sequence_pb2.TransduceRequest(
        model=model,
        source=whole,
        max_tokens=max_tokens,
        sampling=to_sampling(sampling, choices),
        stop=(stop,) if isinstance(stop, str) else stop,
        seed=seed,
        logprobs=logprobs,
        max_chunk_tokens=max_chunk_tokens,
        priority=to_priority(priority),
    )
    return WritingCall(request, timeout, is_resumable=resume is not False)


def _opening(
    model: str | None,
    session_id: str | None,
    expected_position: int | None,
    preempt: bool | None,
    activations: Watched | None,
    priority: Priority | None,
) -> sequence_pb2.Opening:
    return sequence_pb2.Opening(
        model=model,
        session_id=session_id,
        expected_position=expected_position,
        preempt=bool(preempt),
        activations=vectors.activations(activations),
        priority=to_priority(priority),
    )

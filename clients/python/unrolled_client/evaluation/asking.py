"""Asks a server for the answers to held-out items, many at once. On an event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from unrolled.v1 import bundle_pb2
from unrolled_client.answers import Condition
from unrolled_client.async_client import AsyncClient
from unrolled_client.evaluation.figure import Grades
from unrolled_client.evaluation.grading import grade_outputs, grade_text, grade_vectors

AT_ONCE = 32
Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def ask_all(
    ask: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], advance: Callable[[], object]
) -> list[Answer]:
    """Ask about all items, `AT_ONCE` at a time; return the answers in their order.

    Args:
        ask: asks about one.
        items: what to ask about.
        advance: called when an answer is there.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def ask_one(item: Item) -> Answer:
        async with places:
            answer = await ask(item)
        advance()
        return answer

    return await asyncio.gather(*map(ask_one, items))


async def ask_example(client: AsyncClient, manifest: bundle_pb2.Manifest, example: bundle_pb2.Example) -> Grades:
    """Ask what the bundle makes of an item, greedily where it writes, and grade it.

    Raises:
        UnrolledError: the call failed.
        ValueError: the answer has another form than what is wanted.
    """
    name, task = manifest.name, manifest.task
    if task == bundle_pb2.TASK_CLASSIFY:
        answer = await client.classify(to_inputs(example.inputs, manifest.vocabulary), model=name)
        return grade_outputs([answer.output], example.wanted)
    if task == bundle_pb2.TASK_TAG:
        outputs = await client.step(to_inputs(example.inputs, manifest.vocabulary), model=name).read()
        return grade_outputs(outputs, example.wanted)
    is_text = manifest.output.modality != bundle_pb2.MODALITY_VECTOR
    if task == bundle_pb2.TASK_TRANSDUCE:
        stream = client.transduce(to_inputs(example.source, manifest.encoder.vocabulary), model=name)
    else:
        temperature = 0.0 if is_text else None
        stream = client.generate(model=name, condition=to_condition(manifest, example), temperature=temperature)
    text = await stream.read()
    if is_text:
        return grade_text(text, "".join(manifest.vocabulary[token] for token in example.wanted.tokens))
    return grade_vectors(stream.vectors, example.wanted)


def to_inputs(series: bundle_pb2.Series, vocabulary: Iterable[str]) -> str | list[list[float]]:
    """Return a sequence as the client takes it: a text, or vectors."""
    if series.vectors:
        return [list(vector.values) for vector in series.vectors]
    tokens = list(vocabulary)
    return "".join(tokens[token] for token in series.tokens)


def to_condition(manifest: bundle_pb2.Manifest, example: bundle_pb2.Example) -> Condition | None:
    """Return what an item is about: the name of a one-hot condition, or its numbers; None where there is none."""
    numbers = list(example.condition)
    if not numbers:
        return None
    port = manifest.condition.port
    return port.names[numbers.index(max(numbers))] if port.modality == bundle_pb2.MODALITY_LABEL else numbers

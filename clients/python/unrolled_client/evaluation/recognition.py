"""Drawn pictures shown to another bundle: the share that it takes for what was asked for."""

from collections.abc import Callable, Iterable, Iterator
from math import isqrt

from unrolled.v1 import bundle_pb2
from unrolled_client.answers import Vector
from unrolled_client.async_client import AsyncClient
from unrolled_client.evaluation.asking import ask_all
from unrolled_client.evaluation.figure import Grades
from unrolled_client.values import Sampling

Image = list[list[float]]
DRAWINGS, TEMPERATURE = 20, 0.6


async def recognise(
    client: AsyncClient, drawer: bundle_pb2.Manifest, judge: bundle_pb2.Manifest, advance: Callable[[], object]
) -> list[Grades]:
    """Let one bundle draw each of its classes `DRAWINGS` times, seeds from 1, and another one name the pictures.

    Args:
        client: of a server that serves both.
        drawer: what draws, from a name.
        judge: what names.
        advance: called when a picture is named.

    Raises:
        UnrolledError: a call failed.
        ValueError: what is drawn is no square picture, or the judge does not look at such ones.
    """

    async def ask(item: tuple[str, int]) -> Grades:
        label, seed = item
        sampling = Sampling(temperature=TEMPERATURE) if drawer.vocabulary else None
        stream = client.generate(model=drawer.name, condition=label, seed=seed, sampling=sampling)
        text = await stream.read()
        image = to_image(text, drawer.vocabulary) if drawer.vocabulary else from_vectors(stream.vectors)
        seen = [*look(image, judge.input.width)]
        if judge.task == bundle_pb2.TASK_CLASSIFY:
            named = (await client.classify(seen, model=judge.name)).label
        else:
            named = (await client.step(seen, model=judge.name).read())[-1].label
        return Grades("recognised", (float(named == label),))

    items = [(label, seed) for label in drawer.condition.port.names for seed in range(1, DRAWINGS + 1)]
    return await ask_all(ask, items, advance)


def to_image(text: str, vocabulary: Iterable[str]) -> Image:
    """Read a picture that is drawn in characters: the vocabulary's order is from blank to ink, its last ends a row.

    A row's end where ink should be is blank, as the exporter's measure has it.
    """
    *inks, _ = vocabulary
    side = isqrt(len(text))
    rows = [text[begin : begin + side + 1][:side] for begin in range(0, len(text), side + 1)]
    return [[inks.index(each) / (len(inks) - 1) if each in inks else 0.0 for each in row] for row in rows]


def from_vectors(vectors: tuple[Vector, ...]) -> Image:
    """Read a picture that is drawn in whole rows.

    Raises:
        ValueError: it is not square.
    """
    pixels = [pixel for vector in vectors for pixel in vector]
    side = isqrt(len(pixels))
    if side * side != len(pixels):
        raise ValueError(f"a drawing of {len(pixels)} pixels is not square")
    return [pixels[begin : begin + side] for begin in range(0, len(pixels), side)]


def look(image: Image, width: int) -> Iterator[Vector]:
    """Cut a picture as its judge sees it: whole, or in square glimpses that overlap by half, in reading order.

    Args:
        image: rows of pixels, square.
        width: numbers of one of the judge's inputs.

    Raises:
        ValueError: the judge's inputs are neither.
    """
    side, patch = len(image), isqrt(width)
    if width == side * side:
        yield tuple(pixel for row in image for pixel in row)
        return
    stride = patch // 2
    if patch * patch != width or not stride or patch > side:
        raise ValueError(f"a judge with inputs of {width} numbers does not look at pictures of {side}x{side}")
    places = range(0, side - patch + 1, stride)
    for top in places:
        for left in places:
            yield tuple(pixel for row in image[top : top + patch] for pixel in row[left : left + patch])

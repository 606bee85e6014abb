"""Calls of every shape whose answers do not depend on when they are made, and what they give on a quiet server."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from tests.support.lstm import LETTERS
from unrolled.v1.bundle_pb2 import TASK_CLASSIFY, TASK_TRANSDUCE, Example
from unrolled_client import AsyncClient
from unrolled_client.evaluation.asking import to_condition, to_inputs
from unrolled_client.evaluation.folder import Folder, find_bundle

SHIPPED = ("shakespeare", "digits-draw", "digits-glimpses", "circles-quadrants", "tagger", "dates", "one-to-one")
RELOADED = "lstm"
_LENGTH, _LONG = 200, 20_000
_PROMPTS = ("ROMEO:", "JULIET:", "KING HENRY:")
_TEXTS, _EXAMPLES = 6, 4

Items = list[str]
"""What a call gives: its characters, or its outputs in words."""

Pieces = Callable[[AsyncClient], AsyncIterator[Items]]
"""Makes a call and yields what it gives."""


@dataclass(frozen=True)
class Text:
    """A generation of text that may be asked for in parts, on a session."""

    prompt: str
    length: int
    seed: int


@dataclass(frozen=True)
class Ask:
    """A call.

    Attributes:
        model: name of the bundle.
        pieces: makes it.
        text: what it generates, where it is a text from a prompt.
    """

    model: str
    pieces: Pieces
    text: Text | None = None

    @property
    def is_long(self) -> bool:
        """Tell whether it gives more than a connection takes for a reader that has stopped."""
        return self.text is not None and self.text.length == _LONG


def make_asks() -> list[Ask]:
    """Return the calls: the same ones, in the same order, in every process."""
    texts = (Text(LETTERS[i : i + 9], _LENGTH, seed=i) for i in range(_TEXTS))
    return [
        *chain.from_iterable(map(_ask_shipped, SHIPPED)),
        *(_ask_text(RELOADED, text) for text in (*texts, Text("slowly", _LONG, seed=1))),
    ]


async def record(target: str, asks: Sequence[Ask]) -> list[Items]:
    """Return what each call gives, one made after the other."""
    async with AsyncClient(target) as client:
        return [[item async for piece in ask.pieces(client) for item in piece] for ask in asks]


def _ask_shipped(name: str) -> list[Ask]:
    folder = Folder(find_bundle(name))
    if name == "shakespeare":
        return [_ask_text(name, Text(prompt, _LENGTH, seed)) for seed, prompt in enumerate(_PROMPTS)]
    return [Ask(name, _pieces_of(folder, example)) for example in folder.examples.examples[:_EXAMPLES]]


def _ask_text(model: str, text: Text) -> Ask:
    async def pieces(client: AsyncClient) -> AsyncIterator[Items]:
        async with client.generate(text.prompt, model=model, max_tokens=text.length, seed=text.seed) as stream:
            async for piece in stream:
                yield list(piece)

    return Ask(model, pieces, text)


def _pieces_of(folder: Folder, example: Example) -> Pieces:
    """Return what asks about a held-out item in the way of its bundle."""
    manifest = folder.manifest
    name, task = manifest.name, manifest.task

    async def write(client: AsyncClient) -> AsyncIterator[Items]:
        if task == TASK_TRANSDUCE:
            stream = client.transduce(to_inputs(example.source, manifest.encoder.vocabulary), model=name)
        else:
            stream = client.generate(model=name, condition=to_condition(manifest, example), seed=1)
        async with stream:
            async for chunk in stream.chunks():
                yield [*chunk.text, *map(repr, chunk.vectors)]

    async def read(client: AsyncClient) -> AsyncIterator[Items]:
        inputs = to_inputs(example.inputs, manifest.vocabulary)
        if task == TASK_CLASSIFY:
            yield [repr(await client.classify(inputs, model=name))]
            return
        async with client.step(inputs, model=name) as steps:
            async for output in steps:
                yield [repr(output)]

    return read if example.HasField("inputs") else write

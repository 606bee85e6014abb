"""Drives an engine in a plain loop, with readers that read when they are told to."""

from collections.abc import Sequence
from typing import Any

from unrolled_service.engine import Engine
from unrolled_service.rows.delivery import Delivery, Item
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading
from unrolled_service.rows.row import Row
from unrolled_service.rows.sequence_row import Inputs
from unrolled_service.tenants.terms import NOBODY, Terms


class Reader:
    """A sink that takes everything at once, or only when ``read`` is called."""

    def __init__(self, *, is_eager: bool = True) -> None:
        self.delivered = 0
        self.text = ""
        self.items: list[Item] = []
        self.finish: Any = None
        self.error: Exception | None = None
        self.is_eager = is_eager
        self._unread: list[Delivery] = []

    def put(self, delivery: Delivery) -> None:
        self._unread.append(delivery)
        if self.is_eager:
            self.read()

    def read(self, pieces: int | None = None) -> None:
        """Take the oldest pieces that wait; all of them by default."""
        count = len(self._unread) if pieces is None else pieces
        taken, self._unread = self._unread[:count], self._unread[count:]
        for delivery in taken:
            self.text += delivery.text
            self.items += delivery.items
            if _size(delivery) or delivery.finish:
                self.delivered = delivery.position
            self.finish = delivery.finish
            self.error = delivery.error

    def hear(self, outputs: int) -> None:
        """Take so many characters, or outputs that are none, in the middle of a piece where they end there.

        A finish comes with the last.
        """
        while self._unread and outputs >= _size(self._unread[0]):
            outputs -= _size(self._unread[0])
            self.read(1)
        if self._unread and outputs:
            piece = self._unread[0]
            self.text += piece.text[:outputs]
            self.items += piece.items[:outputs]
            self.delivered = piece.position - _size(piece) + outputs
            self._unread[0] = piece._replace(text=piece.text[outputs:], items=piece.items[outputs:])


def _size(piece: Delivery) -> int:
    return len(piece.text or piece.items)


class Clock:
    """Engine time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run_slice(engine: Engine) -> bool:
    """Run one slice and hand out its news; return whether there was anything to do."""
    done = engine.slice()
    for delivery in done.deliveries if done else ():
        assert isinstance(delivery.sink, Reader)
        delivery.sink.put(delivery)
    return done is not None


def run(engine: Engine) -> None:
    """Run slices until there is nothing to do."""
    while run_slice(engine):
        pass


def begin(
    engine: Engine,
    prompt: str,
    max_tokens: int,
    *,
    reader: Reader | None = None,
    model: str = "",
    terms: Terms = NOBODY,
    **options: object,
) -> tuple[Row, Reader]:
    """Begin a stream whose options are those of ``Generation``."""
    reader = reader or Reader()
    lane = engine.lane(model)
    tokens = lane.bundle.vocabulary.encode(prompt, field="prompt")
    generation = Generation(tokens, max_tokens, **options)  # type: ignore[arg-type]
    return engine.submit(model, generation, reader, terms=terms), reader


def generate(engine: Engine, prompt: str, max_tokens: int, **options: object) -> Reader:
    """Run one stream to its end and close it."""
    stream, reader = begin(engine, prompt, max_tokens, **options)  # type: ignore[arg-type]
    run(engine)
    engine.close(stream)
    return reader


def read_sequence(
    engine: Engine, pieces: Sequence[Inputs], *, is_stepwise: bool, model: str = "", slices: int = 1, **options: object
) -> Reader:
    """Run one reading to its end and close it; its inputs come in pieces, each so many slices after the one before.

    The options are those of ``Reading``.
    """
    reader = Reader()
    reading = Reading(pieces[0], is_stepwise, **options)  # type: ignore[arg-type]
    row = engine.submit_reading(model, reading, reader)
    for piece in pieces[1:]:
        for _ in range(slices):
            run_slice(engine)
        engine.feed(row, piece)
    engine.end(row)
    run(engine)
    engine.close(row)
    return reader

"""Calls of every shape at once: each gets to the bit what it gets alone, whatever the others do."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest

from tests.integration.test_engine import make_engine
from tests.integration.test_shapes import draw_inputs
from tests.support.calls import Calls, messages, pack_inputs
from tests.support.loop import Reader, run, run_slice
from tests.support.lstm import LETTERS as PROSE
from tests.support.lstm import write_lstm_bundle
from tests.support.reference import Floats, Inputs, Shapes
from tests.support.serving import serving
from tests.support.shapes import KINDS, LETTERS, NAMES, TARGETS
from unrolled.v1.generation_pb2 import Activations, Conditioning, GenerateRequest, Sampling, ScoreRequest
from unrolled.v1.sequence_pb2 import ClassifyRequest, StepRequest, TransduceRequest
from unrolled_service.engine import Engine
from unrolled_service.graphs import sampling as service
from unrolled_service.models import abilities
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.rows.scoring import Scoring

CALLS = 300
ROWS = 3000
AT_ONCE = 40
STEPWISE = ("tagger", "tagger-vectors", "stateless")
READ = (*STEPWISE, "classifier", "classifier-tokens", "regressor")
TEMPERATURES = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def bundles(shapes: Shapes, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    lstm = load_bundle(write_lstm_bundle(tmp_path_factory.mktemp("lstm") / "lstm"), "fp32")
    return [*map(shapes.bundle, KINDS), lstm]


def split_randomly(inputs: Inputs, chance: random.Random) -> list[Inputs]:
    """Cut inputs into a few pieces, none of them empty."""
    bounds = sorted({0, len(inputs), *(chance.randrange(1, len(inputs) + 1) for _ in range(chance.randrange(4)))})
    return [inputs[a:b] for a, b in pairwise(bounds)]


# Over the wire.

Begin = Callable[[Calls], Any]
"""Begins a call whose messages can be iterated."""


def make_call(kind: str, size: int, chance: random.Random) -> Begin:
    """Return a call of a kind with random inputs, parameters and pieces."""
    seed = chance.getrandbits(32)
    if kind in READ:
        takes_tokens = kind in ("tagger", "classifier-tokens")
        pieces = [
            pack_inputs(each, LETTERS if takes_tokens else "")
            for each in split_randomly(draw_inputs(kind, size, seed), chance)
        ]
        opening: dict[str, Any] = {"model": kind}
        if kind != "stateless" and chance.random() < 0.5:
            opening["activations"] = Activations(state="h0", units=[chance.randrange(8)])
        if kind in STEPWISE:
            return lambda calls: calls.sequences.Step(messages(StepRequest, opening, pieces))
        return lambda calls: iter([calls.sequences.Classify(messages(ClassifyRequest, opening, pieces))])
    fields: dict[str, Any] = {"model": kind, "max_tokens": chance.randrange(1, size + 1)}
    if kind.startswith("translator"):
        source = draw_inputs(kind, size, seed, of_source=True)
        if kind != "translator-vectors":
            fields |= {"sampling": Sampling(temperature=chance.choice(TEMPERATURES)), "seed": seed, "logprobs": 2}
        request = TransduceRequest(source=pack_inputs(source, LETTERS), **fields)
        return lambda calls: calls.sequences.Transduce(request)
    if kind.startswith("drawer"):
        condition = Conditioning(label=chance.choice(NAMES))
        if kind == "drawer-vector":
            condition = Conditioning(vector={"values": [chance.random(), chance.random()]})
        return lambda calls: calls.generations.Generate(GenerateRequest(condition=condition, **fields))
    letters = TARGETS[1:] if kind == "composer" else PROSE
    text = "".join(chance.choices(letters, k=min(size, 60) + 1))
    told = Conditioning(label=chance.choice(NAMES)) if kind == "composer" else None
    if chance.random() < 0.3:
        score = ScoreRequest(model=kind, text=text, per_token=True, logprobs=1, condition=told)
        return lambda calls: iter([calls.generations.Score(score)])
    chosen = Sampling(temperature=chance.choice(TEMPERATURES))
    generate = GenerateRequest(prompt=text, sampling=chosen, seed=seed, condition=told, **fields)
    return lambda calls: calls.generations.Generate(generate)


def listen(replies: Iterator[Any]) -> list[Any]:
    """Return what a call gave, however its messages were cut: texts, outputs, and ends without their times."""
    heard: list[Any] = []
    text = ""
    for reply in replies:
        if hasattr(reply, "outputs"):
            heard += [each.SerializeToString() for each in reply.outputs]
        elif hasattr(reply, "finish") and reply.HasField("finish"):
            reply.finish.ClearField("timings")
            heard.append(reply.finish.SerializeToString())
        elif hasattr(reply, "chunk"):
            text += reply.chunk.text
            chunk = reply.chunk
            heard += [each.SerializeToString() for each in (*chunk.vectors, *chunk.activations, *chunk.logprobs)]
        else:
            heard.append(reply.SerializeToString())
    return [text, *heard]


def disturb(calls: Calls, chance: random.Random, rest: threading.Event) -> None:
    """Begin a long call, read some of it, and go away; now and then only when all the others are through."""
    kind = chance.choice([*STEPWISE, "drawer", "composer", "translator", "lstm"])
    replies = make_call(kind, 3000, chance)(calls)
    for _ in range(chance.randrange(3)):
        next(replies, None)
    if chance.random() < 0.2:
        rest.wait()
        for _ in range(20):
            next(replies, None)
    if hasattr(replies, "cancel"):
        replies.cancel()


@pytest.fixture(scope="module")
def alone(bundles: list[Bundle]) -> tuple[list[Begin], list[list[Any]]]:
    """Calls of all kinds, and what each gave when it had a server for itself."""
    chance = random.Random(3)
    kinds = [bundle.name for bundle in bundles]
    made = [make_call(kinds[i % len(kinds)], chance.choice((1, 3, 20, 150, 400)), chance) for i in range(CALLS)]
    with serving(*bundles, engine_threads=1) as server, grpc.insecure_channel(server.address) as channel:
        calls = Calls(channel)
        return made, [listen(begin(calls)) for begin in made]


@pytest.mark.parametrize("engine_threads", [1, 3])
def test_hundreds_of_calls_of_every_shape_give_what_each_gives_alone(
    bundles: list[Bundle], alone: tuple[list[Begin], list[list[Any]]], engine_threads: int
) -> None:
    made, wanted = alone
    chance, rest = random.Random(engine_threads), threading.Event()
    with (
        serving(*bundles, engine_threads=engine_threads) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(2 * AT_ONCE) as pool,
    ):
        calls = Calls(channel)
        noise = [pool.submit(disturb, calls, random.Random(chance.random()), rest) for _ in range(AT_ONCE)]
        order = chance.sample(range(CALLS), CALLS)
        futures = {i: pool.submit(lambda begin: listen(begin(calls)), made[i]) for i in order}
        given = {i: future.result() for i, future in futures.items()}
        rest.set()
        for each in noise:
            each.result()

    assert [i for i in range(CALLS) if given[i] != wanted[i]] == []


# On a plain loop.


@dataclass
class Job:
    """One call on an engine: how it begins, what it is fed afterwards, and what it gave."""

    begin: Callable[[Engine, Reader], Row]
    pieces: Sequence[Inputs] = ()
    reader: Reader = field(default_factory=Reader)

    @property
    def result(self) -> tuple[Any, ...]:
        """What came, without times."""
        finish = self.reader.finish
        end = getattr(finish, "position", finish), getattr(finish, "reason", None)
        return self.reader.text, repr(self.reader.items), end


def make_job(bundle: Bundle, chance: random.Random) -> Job:
    """Return a job of a bundle with random inputs, parameters and pieces."""
    kind, size, seed = bundle.name, chance.choice((1, 2, 5, 20, 90)), chance.getrandbits(32)
    length, end = chance.randrange(1, size + 1), abilities.end(bundle)
    traced = np.array(chance.sample(range(8), k=chance.randrange(3)) if kind != "stateless" else [], np.int64)
    if kind in READ:
        first, *pieces = split_randomly(draw_inputs(kind, size, seed), chance)
        reading = Reading(first, kind in STEPWISE, traced=traced)
        return Job(lambda engine, reader: engine.submit_reading(kind, reading, reader), pieces)
    chosen = service.Sampling(temperature=chance.choice(TEMPERATURES))
    if kind.startswith("translator"):
        source = draw_inputs(kind, size, seed, of_source=True)
        prompt = np.empty((0, 2), np.float32) if kind == "translator-vectors" else np.empty(0, np.int64)
        wanted = Generation(prompt, length, chosen, seed=seed, end=end)
        return Job(lambda engine, reader: engine.submit_transduction(kind, source, wanted, reader))
    condition: Floats | None = None
    if bundle.condition:
        condition = np.zeros(bundle.condition.width, np.float32)
        condition[seed % len(condition)] = 1 if bundle.condition.is_label else chance.random()
    size_of_vocabulary = len(bundle.vocabulary)
    prompt = draw_inputs(kind, size, seed) if not size_of_vocabulary else np.arange(size) % size_of_vocabulary
    if size_of_vocabulary and chance.random() < 0.3:
        scoring = Scoring(np.append(prompt, 1), 2, True, traced, condition)
        return Job(lambda engine, reader: engine.submit_scoring(kind, scoring, reader))
    generation = Generation(prompt, length, chosen, seed=seed, condition=condition, traced=traced, end=end)
    return Job(lambda engine, reader: engine.submit(kind, generation, reader))


def run_job(engine: Engine, job: Job) -> Job:
    """Run a job alone."""
    row = job.begin(engine, job.reader)
    for piece in job.pieces:
        engine.feed(row, piece)  # type: ignore[arg-type]
    if isinstance(row, ReadingRow):
        engine.end(row)
    run(engine)
    engine.close(row)
    return job


def test_thousands_of_rows_of_every_shape_give_what_each_gives_alone(bundles: list[Bundle]) -> None:
    chance = random.Random(5)
    engine = make_engine(*bundles, max_rows=30, credit=50)
    state = chance.getstate()
    jobs = [make_job(chance.choice(bundles), chance) for _ in range(ROWS)]
    chance.setstate(state)
    alone = [make_job(chance.choice(bundles), chance) for _ in range(ROWS)]

    todo = list(jobs)
    open_rows: list[tuple[Row, Job, list[Inputs]]] = []
    noise: list[tuple[Row, Reader]] = []
    while todo or open_rows:
        while todo and len(open_rows) < 200 and chance.random() < 0.9:
            job = todo.pop()
            open_rows.append((job.begin(engine, job.reader), job, list(job.pieces)))
        if len(noise) < 40:
            slow = Reader(is_eager=chance.random() < 0.5)
            noise.append((make_job(chance.choice(bundles), chance).begin(engine, slow), slow))
        run_slice(engine)
        for row, reader in list(noise):
            if chance.random() < 0.3:
                reader.read(1)
            if row.is_finished or chance.random() < 0.05:
                engine.close(row)
                noise.remove((row, reader))
        for row, job, pieces in list(open_rows):
            if isinstance(row, ReadingRow) and chance.random() < 0.5:
                if pieces:
                    engine.feed(row, pieces.pop(0))
                else:
                    engine.end(row)
            if job.reader.finish:
                engine.close(row)
                open_rows.remove((row, job, pieces))
    for row, _ in noise:
        engine.close(row)

    quiet = make_engine(*bundles)
    assert [i for i, job in enumerate(alone) if run_job(quiet, job).result != jobs[i].result] == []
    assert engine.streams == quiet.streams == 0

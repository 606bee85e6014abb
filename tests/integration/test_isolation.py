"""Identical whatever the load: ten thousand seeded generations in random mixes, each against its solo run.

Some are read slowly, stopped, cancelled, or go on in a second call on a session; none may notice the others.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_engine import make_engine
from tests.support.jobs import Job, draw_job, say_alone
from tests.support.loop import Clock, Reader, begin, run, run_slice
from tests.support.lstm import LETTERS, write_lstm_bundle
from tests.support.serving import serving
from unrolled_client import AsyncClient, Sampling
from unrolled_client.async_stream import AsyncStream
from unrolled_service.engine import Engine
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.rows.row import Row
from unrolled_service.rows.scoring import Scoring
from unrolled_service.settings import Precision

GENERATIONS = 10_000
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
MIXES: tuple[dict[str, Any], ...] = (
    {"max_steps": 1, "max_rows": 7, "credit": 2},
    {"max_steps": 3, "credit": 8},
    {"max_steps": 16, "max_rows": 100},
    {"max_steps": 64},
)
ENGINES = 3
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
LARGE_ALPHABET = sorted({*LETTERS, *map(chr, range(33, 127))})


def test_ten_thousand_generations(lstm: Bundle) -> None:
    chance = random.Random(1)
    jobs = [draw_job(chance) for _ in range(GENERATIONS)]
    share = len(jobs) // len(MIXES)
    for i, settings in enumerate(MIXES):
        run_mixed(lstm, jobs[i * share : (i + 1) * share], chance, **settings)

    check(lstm, jobs)
    assert len({job.text for job in jobs}) > GENERATIONS / 2
    assert sum(job.is_cut and bool(job.parts[0]) for job in jobs) > GENERATIONS / 100
    assert sum(job.is_cut and bool(job.parts[0]) and job.has_session for job in jobs) > GENERATIONS / 1000
    assert sum(len(job.parts) > 1 for job in jobs) > GENERATIONS / 10
    assert sum(len(job.parts[0]) < job.first and not job.is_cut for job in jobs) > GENERATIONS / 100


@pytest.mark.parametrize("precision", PRECISIONS)
def test_generations_of_a_large_cell(precision: Precision, tmp_path: Path) -> None:
    """The kernels of matrix products choose their ways by size."""
    folder = write_lstm_bundle(tmp_path / "lstm", hidden=256, int8=precision == "int8", letters=LARGE_ALPHABET)
    bundle, chance = load_bundle(folder, precision), random.Random(2)
    jobs = [draw_job(chance) for _ in range(60)]
    for job in jobs[::4]:
        job.first, job.length = job.first + 100, job.length + 150
    run_mixed(bundle, jobs, chance, max_steps=5)

    check(bundle, jobs)


def test_several_engines_on_threads_of_their_own(lstm: Bundle) -> None:
    chance = random.Random(3)
    jobs = [draw_job(chance) for _ in range(400)]

    async def crowd(address: str) -> set[str]:
        async with AsyncClient(address) as client:
            return set(await asyncio.gather(*(ask(client, job) for job in jobs)))

    with serving(lstm, engine_threads=ENGINES) as server:
        marks = asyncio.run(crowd(server.address))

    assert marks == {"", *"012"}
    assert sum(job.is_cut for job in jobs) > 10
    check(lstm, jobs)


async def ask(client: AsyncClient, job: Job) -> str:
    """Run a job's calls on a server; return the mark of its session's engine, if it has one."""
    if not job.has_session:
        await hear(client.generate(job.prompt, max_tokens=job.length, seed=job.seed, **options_of(job)), job)
        return ""
    async with client.session(seed=job.seed) as session:
        await hear(session.generate(job.prompt, max_tokens=job.first, **options_of(job)), job)
        heard = len(job.text)
        if job.is_cut:  # the server counts what was under way
            await session.rewind(len(job.prompt) + heard if heard else 0, preempt=True)
        if heard < job.length:
            prompt = "" if (await session.info()).position else job.prompt
            await hear(session.generate(prompt, max_tokens=job.length - heard, **options_of(job)), job)
        return session.id[-1]


async def hear(stream: AsyncStream, job: Job) -> None:
    """Read a call to its end; the first one of an impatient job, until something came."""
    async with stream:
        async for _ in stream:
            if job.is_impatient and not job.parts:
                job.is_cut = True
                break
    job.parts.append(stream.text)


def options_of(job: Job) -> dict[str, Any]:
    """Return what a job's next call says beside prompt, budget and seed."""
    names = ("temperature", "top_k", "top_p", "min_p", *PENALTIES)
    bias = {LETTERS[token]: amount for token, amount in job.sampling.logit_bias}
    return {
        "sampling": Sampling(**{name: getattr(job.sampling, name) for name in names}, logit_bias=bias),
        "stop": () if job.parts else job.stops,
        "max_chunk_tokens": 3 if job.is_lazy else None,
    }


def check(bundle: Bundle, jobs: Sequence[Job]) -> None:
    alone = make_engine(bundle)
    assert [job for job in jobs if not job.is_right(say_alone(alone, job))] == []


def run_mixed(bundle: Bundle, jobs: Sequence[Job], chance: random.Random, **settings: object) -> None:
    """Run jobs while noise joins, leaves, is cancelled, reads slowly, continues sessions and scores."""
    clock = Clock()
    engine = make_engine(bundle, clock=clock, **settings)
    todo, calls, noise = list(jobs), list[tuple[Job, Row, Reader]](), list[tuple[Row, Reader]]()
    sessions = [engine.create_session("", seed=n, ttl_s=None).id for n in range(8)]
    while todo or calls:
        for _ in range(min(len(todo), chance.randint(0, 40), 300 - len(calls))):
            job = todo.pop()
            calls.append((job, *job.begin(engine)))
        if len(noise) < 30:
            noise.append(make_noise(engine, sessions, chance))
        run_slice(engine)
        clock.now += chance.choice((0.0, 0.02))  # some text gathers for several slices
        for row, reader in list(noise):
            if chance.random() < 0.3:
                reader.read(1)
            if row.is_finished or chance.random() < 0.1:
                engine.close(row)
                noise.remove((row, reader))
        for job, row, reader in list(calls):
            if job.is_over(row, reader, chance):
                calls.remove((job, row, reader))
                if job.end(engine, row, reader):
                    todo.append(job)
    for row, _ in noise:
        engine.close(row)
    run(engine)
    assert engine.streams == 0
    assert len(engine.registry) == len(sessions)
    kept = sum(engine.session(each).slot is not None for each in sessions)
    assert engine.lanes["lstm"].residency.arena.slots_in_use == kept


def make_noise(engine: Engine, sessions: list[str], chance: random.Random) -> tuple[Row, Reader]:
    job, reader = draw_job(chance), Reader(is_eager=chance.random() < 0.5)
    if chance.random() < 0.2:
        tokens = engine.lane("").bundle.vocabulary.encode(job.prompt + "ab", field="")
        return engine.submit_scoring("", Scoring(tokens, logprobs=3, per_token=True), reader), reader
    free = [each for each in sessions if engine.session(each).row is None]
    options: dict[str, Any] = {"session_id": chance.choice(free)} if free and chance.random() < 0.5 else {}
    return begin(engine, job.prompt, 50 * job.length, reader=reader, logprobs=chance.choice([0, 4]), **options)

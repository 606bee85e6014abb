"""Identical whatever the load: ten thousand seeded generations in random mixes, each against its solo run."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.test_engine import make_engine
from tests.support.loop import Reader, begin, generate, run, run_slice
from tests.support.lstm import LETTERS, write_lstm_bundle
from unrolled_service.engine import Engine
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.rows.row import Row
from unrolled_service.rows.scoring import Scoring

GENERATIONS = 10_000
MIXES: tuple[dict[str, Any], ...] = (
    {"max_steps": 1, "max_rows": 7},
    {"max_steps": 3},
    {"max_steps": 16, "max_rows": 100},
    {"max_steps": 64},
)
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_k=5),
    Sampling(top_p=0.8, min_p=0.02),
    Sampling(repetition_penalty=1.2, frequency_penalty=0.5, logit_bias=((4, 2.0),)),
)


@dataclass
class Job:
    """One generation: what is asked, and what came."""

    prompt: str
    seed: int
    length: int
    sampling: Sampling
    reader: Reader = field(default_factory=Reader)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("lstm") / "lstm"
    return load_bundle(write_lstm_bundle(folder, int8=request.param == "int8"), request.param)


def make_job(chance: random.Random) -> Job:
    prompt = "".join(chance.choices(LETTERS, k=chance.randint(1, 12)))
    return Job(prompt, chance.getrandbits(64), chance.randint(1, 16), chance.choice(SAMPLINGS))


def test_ten_thousand_generations(bundle: Bundle) -> None:
    chance = random.Random(1)
    jobs = [make_job(chance) for _ in range(GENERATIONS)]
    share = len(jobs) // len(MIXES)
    for i, settings in enumerate(MIXES):
        engine = make_engine(bundle, **settings)
        run_mixed(engine, jobs[i * share : (i + 1) * share], chance)
        assert engine.streams == 0
        assert engine.lanes["lstm"].residency.arena.slots_in_use == len(engine.registry)

    alone = make_engine(bundle)
    wrong = [
        job
        for job in jobs
        if job.reader.text != generate(alone, job.prompt, job.length, seed=job.seed, sampling=job.sampling).text
    ]
    assert wrong == []
    assert len({job.reader.text for job in jobs}) > GENERATIONS / 2


def run_mixed(engine: Engine, jobs: list[Job], chance: random.Random) -> None:
    """Run jobs while noise joins, leaves, is cancelled, reads slowly, continues sessions and scores."""
    todo, open_rows, noise = list(jobs), list[tuple[Row, Job]](), list[tuple[Row, Reader]]()
    sessions = [engine.create_session("", seed=n, ttl_s=None).id for n in range(8)]
    while todo or open_rows:
        for _ in range(min(len(todo), chance.randint(0, 40), 300 - len(open_rows))):
            job = todo.pop()
            begun = begin(engine, job.prompt, job.length, reader=job.reader, seed=job.seed, sampling=job.sampling)
            open_rows.append((begun[0], job))
        if len(noise) < 30:
            noise.append(make_noise(engine, sessions, chance))
        run_slice(engine)
        for row, reader in list(noise):
            if chance.random() < 0.3:
                reader.read(1)
            if row.is_finished or chance.random() < 0.1:
                engine.close(row)
                noise.remove((row, reader))
        for row, job in list(open_rows):
            if row.is_finished:
                engine.close(row)
                open_rows.remove((row, job))
    for row, _ in noise:
        engine.close(row)
    run(engine)


def make_noise(engine: Engine, sessions: list[str], chance: random.Random) -> tuple[Row, Reader]:
    job, reader = make_job(chance), Reader(is_eager=chance.random() < 0.5)
    if chance.random() < 0.2:
        tokens = engine.lane("").bundle.vocabulary.encode(job.prompt + "ab", field="")
        return engine.submit_scoring("", Scoring(tokens, logprobs=3, per_token=True), reader), reader
    free = [each for each in sessions if engine.session(each).row is None]
    options: dict[str, Any] = {"session_id": chance.choice(free)} if free and chance.random() < 0.5 else {}
    return begin(engine, job.prompt, 50 * job.length, reader=reader, logprobs=chance.choice([0, 4]), **options)

"""The model that comes with the package: what it promises, and its text under load."""

import asyncio

from google.protobuf import json_format

from tests.support.server import running_server
from unrolled.v1.bundle_pb2 import Manifest
from unrolled_client import AsyncClient, Client
from unrolled_service.settings import shipped_bundle

MEGABYTE = 1_000_000
PROMPTS = ("ROMEO:", "JULIET:\nO", "KING RICHARD III:\nNow is the winter", "\n")


def test_it_is_small_and_good() -> None:
    folder = shipped_bundle()
    manifest = json_format.Parse((folder / "manifest.json").read_bytes(), Manifest())

    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12 * MEGABYTE
    assert manifest.evaluation.nats_per_char <= 1.45
    assert manifest.evaluation.characters >= 111_000
    card = (folder / "README.md").read_text()
    assert f"{manifest.evaluation.nats_per_char:.4f} nats" in card
    assert "unrolled train tinyshakespeare.txt" in card


def test_64_streams_at_once_give_what_each_seed_gives_alone() -> None:
    async def crowd(address: str) -> list[str]:
        async with AsyncClient(address) as client:
            streams = [client.generate(PROMPTS[seed % 4], max_tokens=120, seed=seed) for seed in range(64)]
            return list(await asyncio.gather(*(stream.read() for stream in streams)))

    with running_server(shipped_bundle()) as server:
        together = asyncio.run(crowd(server.address))
        with Client(server.address) as client:
            alone = [client.generate(PROMPTS[seed % 4], max_tokens=120, seed=seed).read() for seed in range(64)]

    assert together == alone
    assert len(set(together)) == 64

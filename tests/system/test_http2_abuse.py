"""Raw HTTP/2 abuse: the server goes on answering others, its memory stays bounded, nothing is left behind."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.http2_abuse import ATTACKS, attack
from tests.support.server import ServerProcess, running_server, wait_until
from tests.system.letters import sampled_text
from unrolled_client import Client

ALLOWED_GROWTH_BYTES = 256 << 20
# What gRPC keeps of a call with such headers until it is refused, and how many a connection may have in progress: how
# many it has is a matter of time.
BOMB_BYTES, BOMBS = 1 << 20, 1024
NEIGHBOURS, TOKENS = 2, 300
ENDED = {
    "rapid reset": "ENHANCE_YOUR_CALM",
    "empty CONTINUATION flood": "closed",
    "PING flood": "GOAWAY ENHANCE_YOUR_CALM too_many_pings",
    "frame of 16 MiB": "closed",
    "message of 4 GiB": "RST_STREAM|closed",  # what is still sent meets a closed connection
    "empty DATA flood": "closed",
    "HTTP/1.1": "closed",
}


@pytest.fixture(scope="module")
def attacked(bundle: Path) -> Iterator[ServerProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MALLOC_ARENA_MAX", "2")  # as in the image
        with running_server(bundle, stall_timeout_s=1) as server:
            yield server


@contextmanager
def neighbours(server: ServerProcess) -> Iterator[None]:
    """Clients of good will, whose texts must be right all the while; each is served at least once."""
    is_over = threading.Event()

    def ask(seed: int) -> None:
        with Client(server.address, resume=None) as client:
            while True:
                assert client.generate("k", max_tokens=TOKENS, seed=seed).read() == sampled_text("k", TOKENS, seed=seed)
                if is_over.is_set():
                    return

    with ThreadPoolExecutor(NEIGHBOURS) as pool:
        asking = [pool.submit(ask, seed) for seed in range(NEIGHBOURS)]
        try:
            yield
        finally:
            is_over.set()
        for each in asking:
            each.result()


@pytest.mark.parametrize("name", ATTACKS)
def test_others_are_served_while_one_attacks(attacked: ServerProcess, name: str) -> None:
    before = attacked.read_metric("process_resident_memory_bytes")
    with neighbours(attacked), ThreadPoolExecutor(2) as attackers:
        wanted = ENDED.get(name, "")
        ends = [*attackers.map(lambda reads: attack(attacked.address, name, reads=reads, wanted=wanted), (False, True))]
    assert all(re.search(wanted, end) for end in ends), ends
    allowed = ALLOWED_GROWTH_BYTES if name != "header bomb" else len(ends) * BOMBS * BOMB_BYTES
    assert attacked.read_metric("process_resident_memory_bytes") - before < allowed


def test_nothing_is_left_of_it(attacked: ServerProcess) -> None:
    wait_until(lambda: attacked.read_metric("unrolled_streams_active") == 0, "every row is free")
    assert attacked.read_metric("unrolled_streams_waiting") == 0
    assert attacked.read_metric("unrolled_rejected_total", reason="INTERNAL") == 0
    assert "Traceback" not in attacked.log.read_text()
    with neighbours(attacked):
        pass

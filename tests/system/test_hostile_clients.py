"""Clients that die, stall and freeze take nothing from the server or from their neighbours."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import ServerProcess, running_server, wait_until
from tests.system.letters import sampled_text
from unrolled_client import AsyncClient, Client

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = 100_000_000
QUIET_POLLS = 10
WARM_UP, CANCELLED, AT_ONCE = 200, 1000, 50
ALLOWED_GROWTH_BYTES = 15 << 20


@contextmanager
def hostile_client(server: ServerProcess, behaviour: str) -> Iterator[subprocess.Popen[str]]:
    """Run a client that has read its first message; it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.system.hostile_client", server.address, str(ENDLESS), behaviour],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "reading\n"
            yield process
        finally:
            process.kill()


def is_free(server: ServerProcess) -> bool:
    return server.read_metric("unrolled_streams_active") == 0


def count_ends(server: ServerProcess, finish: str) -> float:
    return server.read_metric("unrolled_streams_total", finish=finish)


def at_rest(server: ServerProcess) -> Callable[[], bool]:
    """Return a question: have there been no slices for a few polls?"""
    seen: list[float] = []

    def is_at_rest() -> bool:
        seen.append(server.read_metric("unrolled_slice_rows_count"))
        return len(seen) > QUIET_POLLS and len({*seen[-QUIET_POLLS:]}) == 1

    return is_at_rest


@pytest.fixture(scope="module")
def frozen(bundle: Path) -> Iterator[tuple[ServerProcess, subprocess.Popen[str]]]:
    """A server, and its client, which was stopped in the middle of its stream."""
    with (
        running_server(bundle, max_tokens=ENDLESS, stall_timeout_s=3600) as server,
        hostile_client(server, "read") as client,
    ):
        client.send_signal(signal.SIGSTOP)
        yield server, client


def test_a_frozen_client_keeps_its_slot_at_first(
    frozen: tuple[ServerProcess, subprocess.Popen[str]],
) -> None:
    server, _ = frozen
    assert server.read_metric("unrolled_streams_active") == 1


def test_a_killed_client_frees_its_row(server: ServerProcess) -> None:
    before = count_ends(server, "cancelled")
    with hostile_client(server, "read") as client:
        assert server.read_metric("unrolled_streams_active") == 1
        client.kill()
        wait_until(lambda: is_free(server), "the killed client's row is free")
    wait_until(lambda: count_ends(server, "cancelled") == before + 1, "its stream counts as cancelled")


def test_a_client_that_stops_reading_rests_alone(server: ServerProcess) -> None:
    with hostile_client(server, "rest"), Client(server.address) as neighbour:
        wait_until(at_rest(server), "the unread stream rests")
        assert server.read_metric("unrolled_streams_active") == 1
        tokens = server.read_metric("unrolled_tokens_total", phase="generated")
        slices = server.read_metric("unrolled_slice_rows_count")
        text = neighbour.generate("k", max_tokens=3000, seed=11).read()
        assert text == sampled_text("k", 3000, seed=11)
        assert server.read_metric("unrolled_slice_rows_count") > slices
        assert server.read_metric("unrolled_tokens_total", phase="generated") == tokens + len(text)
    wait_until(lambda: is_free(server), "the client that rested is gone")


def test_a_reader_that_stalls_for_too_long_is_ended(bundle: Path) -> None:
    with (
        running_server(bundle, max_tokens=ENDLESS, stall_timeout_s=1) as server,
        hostile_client(server, "rest") as client,
    ):
        wait_until(lambda: is_free(server), "the stalled reader's slot is free")
        wait_until(lambda: count_ends(server, "error") == 1, "its stream counts as an error")
        assert server.read_metric("unrolled_rejected_total", reason="READER_STALLED") == 1
        output, _ = client.communicate("go on\n", timeout=60)
        told = json.loads(output)
        assert told["is_right"]
        assert told["ending"] == "ABORTED READER_STALLED"


def test_cancelled_streams_leave_nothing_behind(bundle: Path) -> None:
    async def cancel(client: AsyncClient, streams: int) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def begin_and_leave(seed: int) -> None:
            async with places, client.generate("a", max_tokens=ENDLESS, seed=seed) as stream:
                assert await anext(stream)

        async with asyncio.TaskGroup() as group:
            for seed in range(streams):
                group.create_task(begin_and_leave(seed))

    async def cancel_many(server: ServerProcess) -> tuple[float, float]:
        sizes = []
        async with AsyncClient(server.address) as client:
            for streams in (WARM_UP, CANCELLED):
                await cancel(client, streams)
                await asyncio.to_thread(wait_until, lambda: is_free(server), "every slot is free")
                sizes.append(server.read_metric("process_resident_memory_bytes"))
        return sizes[0], sizes[1]

    with running_server(bundle, max_tokens=ENDLESS) as server:
        before, after = asyncio.run(cancel_many(server))
        wait_until(lambda: count_ends(server, "cancelled") == WARM_UP + CANCELLED, "every stream counts as cancelled")
        assert server.read_metric("unrolled_streams_waiting") == 0
        with Client(server.address) as client:
            assert client.generate("b", max_tokens=100, seed=3).read() == sampled_text("b", 100, seed=3)
    assert after - before < ALLOWED_GROWTH_BYTES


def test_a_frozen_client_is_given_up(frozen: tuple[ServerProcess, subprocess.Popen[str]]) -> None:
    """The server's pings stay unanswered: 20 s until it sends one, 10 s until it gives up."""
    server, client = frozen
    wait_until(lambda: is_free(server), "the frozen client's slot is free", limit_s=90)
    assert client.poll() is None
    wait_until(lambda: count_ends(server, "cancelled") == 1, "its stream counts as cancelled")

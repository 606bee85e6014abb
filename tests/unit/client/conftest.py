import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.client.blocking import Blocking
from tests.unit.client.fake_server import FakeServer, running
from unrolled_client import AsyncClient, Client, ResumePolicy


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with running(FakeServer()) as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make clients of one kind; the asynchronous kind is driven like the synchronous one."""
    if request.param == "sync":
        yield Client
        return
    with asyncio.Runner() as runner:
        yield lambda *args, **options: Blocking(AsyncClient(*args, **options), runner)


@pytest.fixture
def client(fake: FakeServer, connect: Callable[..., Any]) -> Iterator[Any]:
    with connect(fake.target) as connected:
        yield connected


@pytest.fixture
def brittle(fake: FakeServer, connect: Callable[..., Any]) -> Iterator[Any]:
    """A client for which a break is final and which adds nothing to what it is told."""
    with connect(fake.target, resume=None) as connected:
        yield connected


@pytest.fixture
def hasty(fake: FakeServer, connect: Callable[..., Any]) -> Iterator[Any]:
    """A client that tries three times, at once."""
    with connect(fake.target, resume=ResumePolicy(max_attempts=3, initial_backoff_s=0)) as connected:
        yield connected

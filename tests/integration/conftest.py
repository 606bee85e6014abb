from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.alphabet import write_bundle
from tests.support.reference import Shapes
from tests.support.session_calls import Caller, begun_session
from unrolled_service.models.bundle import Bundle, load_bundle
from unrolled_service.server import Server


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """A bundle of every shape, and what it must answer."""
    return Shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The alphabet cell, certain of its next letter."""
    return load_bundle(write_bundle(folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def dice(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The alphabet cell in doubt: its samples differ from seed to seed."""
    return load_bundle(write_bundle(folder(tmp_path_factory), name="dice", sharpness=2.0))


@pytest.fixture(scope="session", params=["fp32", "int8"])
def lstm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small LSTM with random weights, in either precision."""
    from tests.support.lstm import write_lstm_bundle  # noqa: PLC0415 - torch, for those tests alone

    return load_bundle(write_lstm_bundle(folder(tmp_path_factory), int8=request.param == "int8"), request.param)


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    """The calls of sessions, of the server that a module has."""
    with grpc.insecure_channel(server.address) as channel:
        yield Caller(channel)


@pytest.fixture
def session_id(caller: Caller) -> Iterator[str]:
    """A session that was fed hello and gave 30 letters: at position 35."""
    with begun_session(caller) as session_id:
        yield session_id


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("bundle") / "bundle"

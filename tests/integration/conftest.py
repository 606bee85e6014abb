from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.reference import Shapes
from unrolled_service.models.bundle import Bundle, load_bundle


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


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("bundle") / "bundle"

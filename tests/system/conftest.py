from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.server import ServerProcess, running_server

# Sharp enough that letters follow the rule often, blunt enough that seeds differ.
SHARPNESS = 3.0


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alphabet cell, sampled text of which differs from seed to seed."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "alphabet", sharpness=SHARPNESS)


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[ServerProcess]:
    with running_server(bundle, max_tokens=100_000_000) as running:
        yield running

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.access import Ca, write_tokens
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


@dataclass(frozen=True, slots=True)
class SecureServer:
    """A server that talks TLS and wants a token.

    Attributes:
        server: the process.
        ca: signs its certificate.
        token: lets its bearer generate and have sessions.
        file: holds the token.
        metrics_file: holds a token that lets its bearer read the metrics, and nothing else.
    """

    server: ServerProcess
    ca: Ca
    token: str
    file: Path
    metrics_file: Path


@pytest.fixture(scope="session")
def secure(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    folder = tmp_path_factory.mktemp("secure")
    ca, token = Ca(folder), "unr_x"
    pair = ca.issue()
    tokens = write_tokens(folder / "tokens", {token: "acme generate session", "unr_m": "prometheus metrics"})
    file, metrics_file = folder / "token", folder / "metrics-token"
    file.write_text(f"{token}\n")
    metrics_file.write_text("unr_m\n")
    settings = {"tls_cert": str(pair.cert), "tls_key": str(pair.key), "auth_tokens": str(tokens)}
    with running_server(bundle, **settings, listen="0.0.0.0:0", metrics_listen="0.0.0.0:0") as running:
        local = ServerProcess(
            running.address.replace("0.0.0.0", "localhost"),
            running.metrics_url.replace("0.0.0.0", "localhost"),
            running.process,
            running.log,
        )
        yield SecureServer(local, ca, token, file, metrics_file)

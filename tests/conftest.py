"""Marks every test by its folder, and looks for the programs that it needs before it starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.programs import demand

KINDS = {
    "unit": "one module",
    "contract": "what is written down in two places agrees",
    "integration": "several modules together, in one process or over the wire",
    "export": "the exporter; needs torch",
    "system": "real programs and processes against a real server",
}
_HERE = Path(__file__).parent

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing about it
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
        if kind in KINDS:
            item.add_marker(kind)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("program"):
        for name in marker.args:
            demand(name)


@pytest.fixture(scope="session")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the bundle of a kind of ``tests.support.shapes``: made once, when it is asked for first.

    The folder is everybody's: a test that changes it takes a copy.
    """
    folder = tmp_path_factory.mktemp("shapes")

    def give(kind: str) -> Path:
        from tests.support.shapes import make_shape  # noqa: PLC0415 - torch, for those tests alone

        return folder / kind if (folder / kind).exists() else make_shape(kind, folder / kind)

    return give

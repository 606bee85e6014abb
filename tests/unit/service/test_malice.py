"""Bundles made to do harm are refused, each for its own reason; what a trial would not survive ends the trial."""

from pathlib import Path

import pytest

from tests.support.alphabet import write_bundle
from tests.support.malice import CORPUS, HEAVY, make_malice
from unrolled_service.errors import BundleError
from unrolled_service.models.bundle import load_bundle, make_bundle
from unrolled_service.models.contents import read_contents
from unrolled_service.models.limits import Limits
from unrolled_service.models.trial import try_bundle

MIB = 1 << 20


def limits(name: str) -> Limits:
    return Limits(operators=CORPUS[name].operators, trial_cpu_s=2, trial_memory_bytes=512 * MIB)


def test_the_corpus_is_large_and_its_reasons_differ() -> None:
    assert len(CORPUS) >= 60
    assert len({malice.reason for malice in CORPUS.values()}) >= 50


@pytest.mark.parametrize("name", [name for name in CORPUS if name not in HEAVY])
def test_malice_is_refused_for_its_own_reason(name: str, tmp_path: Path) -> None:
    folder = make_malice(name, tmp_path / "bundle")
    with pytest.raises(BundleError, match=CORPUS[name].reason):
        load_bundle(folder, "auto", limits(name))


@pytest.mark.parametrize("name", HEAVY)
def test_a_trial_ends_where_a_server_would_not(name: str, tmp_path: Path) -> None:
    folder = make_malice(name, tmp_path / "bundle")
    contents = read_contents(folder, "auto", limits(name))
    with pytest.raises(BundleError, match=CORPUS[name].reason):
        try_bundle(contents, "auto", limits(name))


def test_a_good_bundle_passes_its_trial(tmp_path: Path) -> None:
    contents = read_contents(write_bundle(tmp_path / "bundle"), "auto", Limits())
    try_bundle(contents, "auto", Limits())


def test_what_was_read_is_what_runs(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    contents = read_contents(folder, "auto", Limits())
    for name in ("manifest.json", "cell.onnx", "golden.json"):
        (folder / name).write_bytes(b"changed")
    try_bundle(contents, "auto", Limits())
    assert make_bundle(contents, "auto", Limits()).sha256 == contents.sha256

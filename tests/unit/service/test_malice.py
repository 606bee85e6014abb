"""Bundles made to do harm are refused, each for its own reason; what a trial would not survive ends the trial."""

import hashlib
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.alphabet import write_bundle
from tests.support.beginnings import write_conditioned, write_transducer
from tests.support.malice import CORPUS, HEAVY, array, cell, drop, graph, look_aside, make_malice
from unrolled_service.errors import BundleError
from unrolled_service.models.bundle import load_bundle, make_bundle
from unrolled_service.models.contents import Contents, read_contents
from unrolled_service.models.limits import Limits
from unrolled_service.models.trial import try_bundle

MIB = 1 << 20


def limits(name: str) -> Limits:
    return Limits(operators=CORPUS[name].operators, trial_cpu_s=2, trial_memory_bytes=512 * MIB)


def test_the_corpus_is_large_and_its_reasons_differ() -> None:
    assert len(CORPUS) >= 90
    assert len({malice.reason for malice in CORPUS.values()}) >= 85


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


@pytest.mark.parametrize("write", [write_bundle, write_transducer, write_conditioned])
def test_a_good_bundle_passes_its_trial(write: Callable[[Path], Path], tmp_path: Path) -> None:
    contents = read_contents(write(tmp_path / "bundle"), "auto", Limits())
    try_bundle(contents, "auto", Limits())


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ("", False),
        ("fine", False),
        ("ok", False),
        (f"ok {'0' * 64}", False),
        ("ok {digest}\nand more", False),
        ("invalid", False),
        ("surprise it is", False),
        ("a warning\nok {digest}", True),
    ],
)
def test_a_trial_passes_by_its_last_line_alone(
    words: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends well, whatever it did, and says this."""
    contents = read_contents(write_bundle(tmp_path / "bundle"), "auto", Limits())
    program = tmp_path / "program"
    said = words.format(digest=contents.digest)
    program.write_text(f"#!/bin/sh\ncat > /dev/null\nprintf '%s' '{said}'\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    if passes:
        try_bundle(contents, "auto", Limits())
    else:
        with pytest.raises(BundleError):
            try_bundle(contents, "auto", Limits())


def test_what_was_tried_has_a_name_of_its_own(tmp_path: Path) -> None:
    contents = read_contents(write_bundle(tmp_path / "bundle"), "auto", Limits())
    assert Contents.unpack(io.BytesIO(contents.pack())).digest == contents.digest
    assert hashlib.sha256(contents.pack()).hexdigest() == contents.digest
    for name, content in contents.files.items():
        other = replace(contents, files={**contents.files, name: content + b" "})
        assert other.digest != contents.digest


def test_a_dropout_that_never_drops_is_harmless(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    never = array(False, np.bool_, "is_training")
    for change in (
        drop(initializers=[never]),
        drop(nodes=[helper.make_node("Constant", [], ["is_training"], value=never)]),
    ):
        write_bundle(folder)
        cell(change)(folder)
        load_bundle(folder)


@pytest.mark.parametrize(
    ("write", "name", "state"), [(write_bundle, "cell", "h0"), (write_transducer, "encoder", "e0")]
)
def test_rows_that_round_otherwise_beside_others_are_warned_of(
    write: Callable[[Path], Path], name: str, state: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The largest token of all moves each row by a millionth."""
    folder = write(tmp_path / "bundle")
    nodes = [
        helper.make_node("ReduceMax", ["token"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["far"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["far", "faintly"], ["faint"]),
        helper.make_node("Add", ["mine", "faint"], ["theirs"]),
    ]
    graph(f"{name}.onnx", look_aside(state, nodes, {"faintly": np.float32(1e-6)}))(folder)
    load_bundle(folder)
    assert f"the {name}'s last bits depend on what runs beside a row" in caplog.text


def test_what_was_read_is_what_runs(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    contents = read_contents(folder, "auto", Limits())
    for name in ("manifest.json", "cell.onnx", "golden.json"):
        (folder / name).write_bytes(b"changed")
    try_bundle(contents, "auto", Limits())
    assert make_bundle(contents, "auto", Limits()).sha256 == contents.sha256

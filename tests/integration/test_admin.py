"""Bundles come and go over the wire while others are served, and nothing of the others changes."""

import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.alphabet import LETTERS, greedy_text, write_bundle
from tests.support.malice import CORPUS, make_malice
from tests.support.refusals import refusal
from tests.support.server import wait_until
from tests.support.serving import serving
from unrolled.admin.v1 import admin_pb2 as wire
from unrolled.admin.v1.admin_pb2_grpc import AdminServiceStub
from unrolled.v1 import generation_pb2, model_pb2, session_pb2
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.model_pb2_grpc import ModelServiceStub
from unrolled.v1.session_pb2_grpc import SessionServiceStub
from unrolled_service.models.bundle import load_bundle

OTHER_LETTERS = LETTERS[::-1]
LIMIT_S = 60.0
ENDLESS = 10**7


@dataclass(frozen=True, slots=True)
class Served:
    """A server with an admin listener, and ways to ask it."""

    admin: Any
    generation: Any
    sessions: Any
    models: Any
    health: Any
    folder: Path
    server: Any

    def load(self, bundle: str, **fields: Any) -> wire.LoadModelResponse:
        reply: wire.LoadModelResponse = self.admin.LoadModel(wire.LoadModelRequest(bundle=bundle, **fields), timeout=60)
        return reply

    def unload(self, model: str, **fields: Any) -> wire.UnloadModelResponse:
        request = wire.UnloadModelRequest(model=model, **fields)
        reply: wire.UnloadModelResponse = self.admin.UnloadModel(request, timeout=LIMIT_S)
        return reply

    def stats(self) -> dict[str, wire.ModelStats]:
        reply = self.admin.GetStats(wire.GetStatsRequest())
        return {f"{each.name}{'' if each.is_served else '*'}": each for each in reply.models}

    def stream(self, **fields: Any) -> Any:
        return self.generation.Generate(generation_pb2.GenerateRequest(**fields), timeout=LIMIT_S)

    def text(self, **fields: Any) -> str:
        return "".join(each.chunk.text for each in self.stream(**fields))

    def create(self, model: str, seed: int = 1) -> str:
        reply = self.sessions.CreateSession(session_pb2.CreateSessionRequest(model=model, seed=seed))
        return str(reply.session.id)

    def names(self) -> list[str]:
        return [each.manifest.name for each in self.models.ListModels(model_pb2.ListModelsRequest()).models]

    def status(self, service: str) -> str:
        reply = self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Served]:
    dice = load_bundle(write_bundle(folder / "first", name="dice", sharpness=2.0))
    (folder / "below").mkdir()
    values = {"admin_listen": "127.0.0.1:0", "bundles_folder": folder / "below", "engine_threads": 2} | settings
    with serving(dice, **values) as server:
        assert server.admin_address is not None
        with grpc.insecure_channel(server.address) as public, grpc.insecure_channel(server.admin_address) as private:
            yield Served(
                AdminServiceStub(private),
                GenerationServiceStub(public),
                SessionServiceStub(public),
                ModelServiceStub(public),
                health_pb2_grpc.HealthStub(public),
                folder / "below",
                server,
            )


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for calls that change nothing."""
    with served(tmp_path_factory.mktemp("quiet")) as found:
        (found.folder / "link").symlink_to(found.folder.parent / "first")
        (found.folder / "file").write_text("")
        (found.folder / "empty").mkdir()
        write_bundle(found.folder / "letters", name="letters")
        yield found


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found


def test_a_bundle_comes_and_goes(one: Served) -> None:
    write_bundle(one.folder / "deep" / "letters", name="letters")
    with pytest.raises(grpc.RpcError, match="no model 'letters' is served; there are: dice"):
        one.text(model="letters", prompt="a", max_tokens=5)

    loaded = one.load("deep/letters")
    assert loaded.is_new
    assert (loaded.model.name, loaded.model.precision, loaded.model.is_served) == ("letters", "fp32", True)
    assert one.names() == ["dice", "letters"]
    assert one.status("model/letters") == "SERVING"
    assert one.text(model="letters", prompt="a", max_tokens=30) == greedy_text("a", 30)
    assert not one.load("deep/letters", sha256=loaded.model.sha256).is_new

    session_id = one.create("letters")
    gone = one.unload("letters")
    assert (gone.streams_ended, gone.sessions_ended, gone.is_gone) == (0, 1, True)
    assert one.names() == ["dice"]
    assert one.status("model/letters") == "SERVICE_UNKNOWN"
    assert [*one.stats()] == ["dice"]
    said = refusal(lambda: one.text(model="letters", prompt="a", max_tokens=5))
    assert (said.reason, said.code) == ("MODEL_NOT_FOUND", "NOT_FOUND")
    said = refusal(lambda: one.text(session_id=session_id, prompt="a", max_tokens=5))
    assert said.reason == "SESSION_EVICTED"

    assert one.load("deep/letters").is_new
    assert one.text(model="letters", prompt="b", max_tokens=30) == greedy_text("b", 30)


def test_the_last_bundle_can_go_and_another_come(one: Served) -> None:
    assert one.unload("dice").is_gone
    said = refusal(lambda: one.text(prompt="a", max_tokens=5))
    assert (said.reason, said.text) == ("MODEL_NOT_FOUND", "no model is served")
    write_bundle(one.folder / "letters", name="letters")
    one.load("letters")
    assert one.text(prompt="a", max_tokens=9) == greedy_text("a", 9)


def test_a_newer_bundle_takes_the_name_and_sessions_stay_on_theirs(one: Served) -> None:
    write_bundle(one.folder / "old", name="book")
    write_bundle(one.folder / "new", name="book", letters=OTHER_LETTERS)
    old = one.load("old").model
    session_id, kept_id = one.create("book"), one.create("book")
    assert one.text(session_id=session_id, prompt="a", max_tokens=10) == greedy_text("a", 10)
    stream = one.stream(model="book", prompt="a", max_tokens=2000)
    first = next(stream).chunk.text

    new = one.load("new").model
    assert one.names() == ["dice", "book"]
    assert one.models.GetModel(model_pb2.GetModelRequest(model="book")).model.sha256 == new.sha256 != old.sha256
    assert {*one.stats()} == {"dice", "book", "book*"}
    assert one.text(model="book", prompt="a", max_tokens=20) == greedy_text("a", 20, letters=OTHER_LETTERS)
    assert first + "".join(each.chunk.text for each in stream) == greedy_text("a", 2000)
    assert one.text(model=f"book@{old.sha256}", prompt="b", max_tokens=20) == greedy_text("b", 20)
    so_far = "a" + greedy_text("a", 10)
    for model in ("", "book"):
        wanted = greedy_text(so_far, 10)
        assert one.text(model=model, session_id=session_id, max_tokens=10) == wanted
        so_far += wanted
    snapshot = one.sessions.ExportSnapshot(session_pb2.ExportSnapshotRequest(session_id=session_id)).snapshot
    copy = one.sessions.ImportSnapshot(session_pb2.ImportSnapshotRequest(snapshot=snapshot)).session
    assert one.text(session_id=copy.id, max_tokens=10) == greedy_text(so_far, 10)

    assert one.unload("book", sha256=old.sha256).sessions_ended == 3
    assert {*one.stats()} == {"dice", "book"}
    assert refusal(lambda: one.text(session_id=kept_id, prompt="a", max_tokens=1)).reason == "SESSION_EVICTED"
    request = session_pb2.ImportSnapshotRequest(snapshot=snapshot)
    assert refusal(lambda: one.sessions.ImportSnapshot(request)).reason == "SNAPSHOT_MISMATCH"
    assert one.text(model="book", prompt="a", max_tokens=20) == greedy_text("a", 20, letters=OTHER_LETTERS)


def test_an_old_bundle_goes_with_its_last_session(one: Served) -> None:
    write_bundle(one.folder / "old", name="book")
    write_bundle(one.folder / "new", name="book", letters=OTHER_LETTERS)
    one.load("old")
    session_id = one.create("book")
    one.load("new")
    assert "book*" in one.stats()
    one.sessions.DeleteSession(session_pb2.DeleteSessionRequest(session_id=session_id))
    wait_until(lambda: "book*" not in one.stats(), "the old bundle is gone")
    assert one.load("old").is_new
    assert one.text(model="book", prompt="a", max_tokens=20) == greedy_text("a", 20)


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, max_tokens=ENDLESS) as found:
        yield found


def test_streams_have_the_grace_time_and_then_end(endless: Served) -> None:
    one = endless
    write_bundle(one.folder / "letters", name="letters")
    one.load("letters")
    session_id = one.create("letters")
    stream = one.stream(session_id=session_id, prompt="a", max_tokens=ENDLESS)
    text = next(stream).chunk.text
    request = wire.UnloadModelRequest(model="letters")
    request.grace.FromMilliseconds(0)
    gone = one.admin.UnloadModel.future(request, timeout=LIMIT_S)

    def read() -> None:
        nonlocal text
        for each in stream:
            text += each.chunk.text

    said = refusal(read)
    assert (said.code, said.reason) == ("UNAVAILABLE", "DRAINING")
    assert said.position == len(text) + 1
    assert text == greedy_text("a", len(text))
    assert (gone.result().streams_ended, gone.result().sessions_ended, gone.result().is_gone) == (1, 1, True)
    assert refusal(lambda: one.text(session_id=session_id, max_tokens=1)).reason == "SESSION_EVICTED"


def test_a_bad_bundle_is_refused_with_the_reason_and_the_old_one_goes_on(one: Served) -> None:
    write_bundle(one.folder / "book", name="book")
    one.load("book")
    shutil.rmtree(one.folder / "book")
    make_malice("weights that are no numbers", one.folder / "book")
    said = refusal(lambda: one.load("book"))
    assert (said.code, said.reason, said.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "bundle")
    assert said.text == "bundle: book/cell.onnx: initializer 'w' has a number that is not one"
    assert one.text(model="book", prompt="a", max_tokens=9) == greedy_text("a", 9)
    shutil.rmtree(one.folder / "book")
    make_malice("a golden run of another cell", one.folder / "book")
    assert "differs from the recorded one at step 3" in refusal(lambda: one.load("book")).text
    for reason in ("invalid", "golden"):
        sample = "unrolled_bundle_load_failures_total"
        assert one.server._metrics.registry.get_sample_value(sample, {"reason": reason}) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a link out of the folder",
        "a state of too many digits to say",
        "a manifest nested deep",
        "an initializer elsewhere",
        "the largest state of all",
        "an encoder that looks aside",
        "a bridge's number elsewhere",
        "a condition that draws",
        "a condition of 64 GiB",
    ],
)
def test_malice_is_refused_over_the_wire_for_its_own_reason(quiet: Served, name: str) -> None:
    make_malice(name, quiet.folder / "bad" / "bundle")
    try:
        said = refusal(lambda: quiet.load("bad/bundle"))
    finally:
        shutil.rmtree(quiet.folder / "bad")
    assert (said.code, said.reason, said.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "bundle")
    assert re.search(CORPUS[name].reason, said.text)
    assert quiet.names() == ["dice"]


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ("", "1 to 512 characters, has 0"),
        ("x" * 513, "1 to 512 characters, has 513"),
        ("x" * 512, "names of at most 255 characters, one has 512"),
        ("x" * 300, "names of at most 255 characters, one has 300"),
        ("x" * 256, "names of at most 255 characters, one has 256"),
        ("a/" + "x" * 256, "names of at most 255 characters, one has 256"),
        ("x" * 255, "is neither a folder below"),
        ("a/" * 255 + "bb", "is neither a folder below"),
        ("/etc", "must be names of"),
        ("../first", "must be names of"),
        ("a/../../first", "must be names of"),
        ("a//b", "must be names of"),
        (".", "must be names of"),
        ("a\0b", "must be names of"),
        ("nowhere", "is neither a folder below"),
        ("link", "is not a folder, or a link"),
        ("file", "is not a folder, or a link"),
        ("empty", r"empty/manifest\.json: No such file"),
    ],
)
def test_only_what_lies_below_the_folder_can_be_loaded(quiet: Served, bundle: str, words: str) -> None:
    said = refusal(lambda: quiet.load(bundle))
    assert (said.reason, said.field) == ("INVALID_FIELD", "bundle")
    assert re.search(words, said.text)


def test_a_path_that_no_file_system_takes_leads_nowhere(tmp_path: Path) -> None:
    with served(tmp_path, bundles_folder=Path("/" + "x/" * 4000)) as one:
        said = refusal(lambda: one.load("letters"))
    assert (said.reason, said.field) == ("INVALID_FIELD", "bundle")
    assert "is neither a folder below" in said.text


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (lambda one: one.load("letters", sha256="A" * 64), "sha256"),
        (lambda one: one.unload(""), "model"),
        (lambda one: one.unload("x" * 129), "model"),
        (lambda one: one.unload("dice", sha256="0"), "sha256"),
        (lambda one: one.unload("dice", grace={"seconds": -1}), "grace"),
        (lambda one: one.unload("dice", grace={"seconds": 86_401}), "grace"),
        (lambda one: one.unload("dice", grace={"seconds": 1, "nanos": -500_000_000}), "grace.nanos"),
        (lambda one: one.unload("dice", grace={"nanos": 1_000_000_000}), "grace.nanos"),
        (lambda one: one.unload("dice", grace={"seconds": 2**63 - 1}), "grace"),
    ],
)
def test_fields_have_bounds(quiet: Served, method: Any, field: str) -> None:
    said = refusal(lambda: method(quiet))
    assert (said.reason, said.field) == ("INVALID_FIELD", field)
    assert quiet.names() == ["dice"]


def test_another_sha256_than_the_one_asked_for_is_refused(quiet: Served) -> None:
    said = refusal(lambda: quiet.load("letters", sha256="0" * 64))
    assert (said.field, said.reason) == ("sha256", "INVALID_FIELD")
    assert refusal(lambda: quiet.unload("dice", sha256="0" * 64)).reason == "MODEL_NOT_FOUND"
    assert quiet.names() == ["dice"]


def test_admin_methods_are_on_their_own_listener_alone(quiet: Served) -> None:
    with grpc.insecure_channel(quiet.server.address) as public, pytest.raises(grpc.RpcError) as caught:
        AdminServiceStub(public).GetStats(wire.GetStatsRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with grpc.insecure_channel(quiet.server.admin_address) as private, pytest.raises(grpc.RpcError) as caught:
        ModelServiceStub(private).ListModels(model_pb2.ListModelsRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_draining_is_told_to_whoever_runs_the_server(one: Served) -> None:
    assert not one.server.drain_wanted.is_set()
    assert one.admin.Drain(wire.DrainRequest()).streams == 0
    assert one.server.drain_wanted.is_set()
    assert one.admin.GetStats(wire.GetStatsRequest()).is_draining
    assert refusal(lambda: one.load("letters")).reason in {"DRAINING", "INVALID_FIELD"}


def test_other_models_streams_say_the_same_while_bundles_come_and_go(one: Served) -> None:
    for number in range(3):
        letters = LETTERS[number:] + LETTERS[:number]
        write_bundle(one.folder / f"v{number}", name="book", letters=letters)
    fields: dict[str, Any] = {"model": "dice", "max_tokens": 1000}
    wanted = {seed: one.text(prompt="q", seed=seed, **fields) for seed in range(4)}
    is_over = threading.Event()

    def stream(seed: int) -> int:
        rounds = 0
        while not is_over.is_set() or not rounds:
            assert one.text(prompt="q", seed=seed, **fields) == wanted[seed]
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(stream, seed) for seed in wanted]
        try:
            for number in (0, 1, 2, 0, 1):
                assert one.load(f"v{number}").is_new
                letters = LETTERS[number:] + LETTERS[:number]
                assert one.text(model="book", prompt="c", max_tokens=50) == greedy_text("c", 50, letters=letters)
                if number == 2:
                    one.unload("book")
        finally:
            is_over.set()
        assert all(each.result() for each in rounds)


def test_series_and_memory_follow(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        write_bundle(one.folder / "letters", name="letters")
        registry = one.server._metrics.registry

        def infos() -> int:
            (family,) = (each for each in registry.collect() if each.name == "unrolled_model_info")
            return len(family.samples)

        def slots() -> float:
            return float(registry.get_sample_value("unrolled_slots") or 0)

        alone = slots()
        one.load("letters")
        assert (infos(), slots()) == (2, 2 * alone)
        one.create("letters")
        one.unload("letters")
        assert (infos(), slots()) == (1, alone)
        assert registry.get_sample_value("unrolled_session_evictions_total", {"reason": "unload"}) == 1
        assert registry.get_sample_value("unrolled_tokens_total", {"model": "letters", "phase": "prompt"}) == 0

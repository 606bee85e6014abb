from typing import Any

from tests.unit.client.fake_server import FakeServer
from unrolled.v1 import bundle_pb2, model_pb2
from unrolled_client import ModelInfo


def served(name: str, nats_per_char: float | None = 1.4375) -> model_pb2.Model:
    manifest = bundle_pb2.Manifest(
        name=name,
        description="Letters",
        architecture=bundle_pb2.Architecture(cell="lstm", layers=2, hidden_size=512, parameters=3_286_593),
        vocabulary=["a", "b"],
    )
    if nats_per_char is not None:
        manifest.evaluation.nats_per_char = nats_per_char
    return model_pb2.Model(sha256="ab" * 32, manifest=manifest)


def test_models_are_described(client: Any, fake: FakeServer) -> None:
    fake.models = [served("letters"), served("others", None)]
    first, second = client.models()
    assert first == ModelInfo(
        name="letters",
        sha256="ab" * 32,
        description="Letters",
        cell="lstm",
        layers=2,
        hidden_size=512,
        embedding_size=0,
        parameters=3_286_593,
        vocabulary=("a", "b"),
        nats_per_char=1.4375,
    )
    assert (second.name, second.nats_per_char) == ("others", None)


def test_one_model_is_asked_for_by_name_or_without(client: Any, fake: FakeServer) -> None:
    fake.models = [served("letters")]
    assert client.model("letters") == client.model()
    assert fake.requests == [model_pb2.GetModelRequest(model="letters"), model_pb2.GetModelRequest()]

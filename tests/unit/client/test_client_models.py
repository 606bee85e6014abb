from typing import Any

from tests.unit.client.fake_server import FakeServer
from unrolled.v1 import bundle_pb2, model_pb2
from unrolled_client import Figure, ModelInfo, Port


def served(name: str, nats_per_char: float | None = 1.4375) -> model_pb2.Model:
    manifest = bundle_pb2.Manifest(
        name=name,
        task=bundle_pb2.TASK_GENERATE,
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
        task="generate",
        figures=(),
        input=Port("token", 2),
        output=Port("token", 2),
        condition=None,
        source=None,
        source_vocabulary=(),
        states=(),
        length=None,
        has_start=False,
    )
    assert (second.name, second.nats_per_char) == ("others", None)


def drawing() -> model_pb2.Model:
    """Describe a bundle that draws a named digit in vectors."""
    pixels = bundle_pb2.Port(modality=bundle_pb2.MODALITY_VECTOR, width=64)
    names = bundle_pb2.Port(modality=bundle_pb2.MODALITY_LABEL, width=2, names=["zero", "one"])
    manifest = bundle_pb2.Manifest(
        name="digits",
        task=bundle_pb2.TASK_GENERATE,
        states=[bundle_pb2.State(input="h0"), bundle_pb2.State(input="c0")],
        input=pixels,
        output=pixels,
        condition=bundle_pb2.Condition(port=names),
        feedback=bundle_pb2.Feedback(length=4),
        evaluation=bundle_pb2.Evaluation(figures=[bundle_pb2.Figure(name="recognised", value=0.5, count=20)]),
    )
    return model_pb2.Model(manifest=manifest)


def translating() -> model_pb2.Model:
    """Describe a bundle that answers one text with another."""
    encoder = bundle_pb2.Encoder(vocabulary=["x", "y", "z"])
    manifest = bundle_pb2.Manifest(
        name="reverse", task=bundle_pb2.TASK_TRANSDUCE, vocabulary=["a", "b"], encoder=encoder
    )
    manifest.feedback.start_token = 0
    manifest.feedback.length = 9
    return model_pb2.Model(manifest=manifest)


def test_shapes_are_described(client: Any, fake: FakeServer) -> None:
    fake.models = [drawing(), translating()]
    draw, translate = client.models()
    assert (draw.task, draw.input, draw.output) == ("generate", Port("vector", 64), Port("vector", 64))
    assert draw.condition == Port("label", 2, ("zero", "one"))
    assert (draw.states, draw.length, draw.has_start, draw.source) == (("h0", "c0"), 4, True, None)
    assert (draw.figures, draw.nats_per_char) == ((Figure("recognised", 0.5, 20),), None)
    assert (translate.task, translate.source, translate.output) == ("transduce", Port("token", 3), Port("token", 2))
    assert (translate.source_vocabulary, translate.length, translate.has_start) == (("x", "y", "z"), 9, True)


def test_one_model_is_asked_for_by_name_or_without(client: Any, fake: FakeServer) -> None:
    fake.models = [served("letters")]
    assert client.model("letters") == client.model()
    assert fake.requests == [model_pb2.GetModelRequest(model="letters"), model_pb2.GetModelRequest()]

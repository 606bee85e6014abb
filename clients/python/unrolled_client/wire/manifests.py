"""Turns a bundle's manifest into the description that callers get."""

from collections.abc import Sequence

from unrolled.v1 import bundle_pb2, model_pb2
from unrolled_client.models import Figure, ModelInfo, Port
from unrolled_client.wire.replies import name_of


def model_info(message: model_pb2.Model) -> ModelInfo:
    """Read the description of a bundle."""
    manifest = message.manifest
    architecture, vocabulary = manifest.architecture, tuple(manifest.vocabulary)
    has_encoder, source_vocabulary = manifest.HasField("encoder"), tuple(manifest.encoder.vocabulary)
    return ModelInfo(
        name=manifest.name,
        sha256=message.sha256,
        description=manifest.description,
        task=name_of(bundle_pb2.Task, manifest.task),
        cell=architecture.cell,
        layers=architecture.layers,
        hidden_size=architecture.hidden_size,
        embedding_size=architecture.embedding_size,
        parameters=architecture.parameters,
        vocabulary=vocabulary,
        nats_per_char=manifest.evaluation.nats_per_char or None,
        figures=tuple(Figure(each.name, each.value, each.count) for each in manifest.evaluation.figures),
        input=_port(manifest.input, vocabulary),
        output=_port(manifest.output, vocabulary),
        condition=_port(manifest.condition.port, ()) if manifest.HasField("condition") else None,
        source=_port(manifest.encoder.input, source_vocabulary) if has_encoder else None,
        source_vocabulary=source_vocabulary,
        states=tuple(state.input for state in manifest.states),
        length=manifest.feedback.length or None,
        has_start=_has_start(manifest),
    )


def model_infos(message: model_pb2.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Read the descriptions of all bundles."""
    return tuple(map(model_info, message.models))


def _port(port: bundle_pb2.Port, vocabulary: Sequence[str]) -> Port:
    if port.modality in (bundle_pb2.MODALITY_UNSPECIFIED, bundle_pb2.MODALITY_TOKEN):
        return Port("token", len(vocabulary))
    return Port(name_of(bundle_pb2.Modality, port.modality), port.width, tuple(port.names))


def _has_start(manifest: bundle_pb2.Manifest) -> bool:
    """Tell whether something is fed first: a start token, or, where vectors are fed back, the start vector."""
    feedback = manifest.feedback
    takes_vectors = manifest.HasField("feedback") and manifest.input.modality == bundle_pb2.MODALITY_VECTOR
    return feedback.HasField("start_token") or takes_vectors

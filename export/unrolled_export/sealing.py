"""A bundle's files bound together: the manifest in every graph, every digest in the manifest. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from google.protobuf.message import Message

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_export.bundle import digest
from unrolled_export.errors import CellError
from unrolled_export.manifest import METADATA_KEY, parse_manifest, to_compact_json, to_dense_json, to_pretty_json
from unrolled_export.shape import is_plain

CARD_FILE = "README.md"


def seal(
    manifest: Manifest, graphs: Mapping[str, onnx.ModelProto], messages: Mapping[str, Message]
) -> dict[str, bytes]:
    """Write the manifest into the metadata of every graph, and the digests of all files into the manifest.

    Args:
        manifest: what the bundle is; `files` is filled in here.
        graphs: by file; their metadata is replaced.
        messages: golden runs and examples, by file.

    Returns:
        The files by name, without manifest.json.

    Raises:
        BundleError: the manifest's fields do not go together.
        CellError: a graph is not valid ONNX.
    """
    for model in graphs.values():
        attach_metadata(model, {METADATA_KEY: to_compact_json(manifest)})
    files = {file: to_bytes(model) for file, model in graphs.items()}
    write = to_pretty_json if is_plain(manifest) else to_dense_json
    files |= {file: write(message) for file, message in messages.items()}
    parse_manifest(to_pretty_json(manifest))
    for file, data in files.items():
        manifest.files[file] = digest(data)
    return files


def attach_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Replace the metadata of `model` by `entries`, sorted by key."""
    del model.metadata_props[:]
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=key, value=value)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise the same way every time.

    Raises:
        CellError: the graph is not valid ONNX.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CellError(f"the exported graph is not valid: {error}") from error
    return model.SerializeToString(deterministic=True)

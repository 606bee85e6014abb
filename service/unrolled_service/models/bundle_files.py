"""The files of a bundle, each read once: into memory, hashed, and used from there.

Knows what a file must be to be read at all, not what it is for. Nothing is looked up by path afterwards.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import onnx
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper

from unrolled_service.errors import BundleError
from unrolled_service.models.shape import Signature

_M = TypeVar("_M", bound=Message)


def read_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error


def read_listed(path: Path, digests: Mapping[str, str]) -> bytes:
    """Return what a file holds, if it has the sha256 that is listed.

    Raises:
        BundleError: it cannot be read, has another sha256, or is not listed.
    """
    content = read_file(path)
    listed, found = digests.get(path.name, ""), hashlib.sha256(content).hexdigest()
    if listed != found:
        raise BundleError(f"{path}: sha256 is {found}, the manifest says {listed or 'nothing'}")
    return content


def parse_message(path: Path, content: bytes, message: _M) -> _M:
    """Return a message that is written as JSON.

    Raises:
        BundleError: it is not JSON, or has a field that the message has not.
    """
    try:
        return json_format.Parse(content, message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}") from error


def parse_graph(path: Path, content: bytes, signature: Signature) -> onnx.ModelProto:
    """Return a graph, if it is self-contained and has the signature that the manifest promises.

    Raises:
        BundleError: it is none.
    """
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{path}: not a valid ONNX model: {error}") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BundleError(f"{path}: refers to data outside the file")
    for kind, expected, values in (
        ("inputs", signature.inputs, model.graph.input),
        ("outputs", signature.outputs, model.graph.output),
    ):
        found = _describe(values)
        if expected != found:
            raise BundleError(f"{path}: {kind} are {found}, the manifest says {expected}")
    return model


def _describe(values: Sequence[onnx.ValueInfoProto]) -> dict[str, str]:
    """Return element type and extents by name, a free first one as ``batch``, another free one as ``?``."""
    described = {}
    for value in values:
        tensor = value.type.tensor_type
        extents = [str(extent.dim_value) if extent.HasField("dim_value") else "?" for extent in tensor.shape.dim]
        if extents[:1] == ["?"]:
            extents[0] = "batch"
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "no tensor"
        described[value.name] = f"{kind} [{', '.join(extents)}]"
    return described

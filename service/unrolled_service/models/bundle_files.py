"""The files of a bundle, each read once: into memory, hashed, and used from there.

Knows what a file must be to be read at all, not what it is for. Nothing is looked up by path afterwards.
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from typing import TypeVar

import onnx
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper

from unrolled_service.errors import BundleError
from unrolled_service.models.inspection import find_graph_faults
from unrolled_service.models.limits import Limits
from unrolled_service.models.shape import Signature

_M = TypeVar("_M", bound=Message)
_HOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # without waiting for the writer of a pipe


def read_file(folder: int, place: str, name: str, limit_bytes: int) -> bytes:
    """Return what a plain file holds.

    Args:
        folder: descriptor of the folder that it lies in.
        place: the folder's name, for people.
        name: the file's, without a path.
        limit_bytes: how large it may be.

    Raises:
        BundleError: it cannot be read, is something else than a file, or is larger.
    """
    where = f"{place}/{name}"
    try:
        file = os.open(name, _HOW, dir_fd=folder)
    except OSError as error:
        if _is_link(folder, name):
            raise BundleError(f"{where}: is a link; a bundle holds its files itself") from error
        raise BundleError(f"{where}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise BundleError(f"{where}: is not a plain file")
        with open(file, "rb", closefd=False) as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise BundleError(f"{where}: {error.strerror}") from error
    finally:
        os.close(file)
    if len(content) > limit_bytes:
        raise BundleError(f"{where}: is larger than {limit_bytes} bytes")
    return content


def check_listed(where: str, name: str, content: bytes, digests: Mapping[str, str]) -> None:
    """Refuse a content that has not the sha256 which is listed.

    Raises:
        BundleError: it has another, or is not listed.
    """
    listed, found = digests.get(name, ""), hashlib.sha256(content).hexdigest()
    if listed != found:
        raise BundleError(f"{where}: sha256 is {found}, the manifest says {listed or 'nothing'}")


def parse_message(where: str, content: bytes, message: _M) -> _M:
    """Return a message that is written as JSON.

    Raises:
        BundleError: it is not JSON, or has a field that the message has not.
    """
    try:
        return json_format.Parse(content, message)
    except RecursionError:
        raise BundleError(f"{where}: is nested too deep") from None
    except (json_format.ParseError, UnicodeDecodeError) as error:
        if isinstance(error.__context__, RecursionError):
            raise BundleError(f"{where}: is nested too deep") from None
        raise BundleError(f"{where}: {error}") from error


def parse_graph(where: str, content: bytes, signature: Signature, limits: Limits) -> onnx.ModelProto:
    """Return a graph that may be run here and has the signature that the manifest promises.

    Raises:
        BundleError: it is none.
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise BundleError(f"{where}: not a valid ONNX model: {error}") from error
    for fault in find_graph_faults(model, limits):
        raise BundleError(f"{where}: {fault}")
    try:
        onnx.checker.check_model(model)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(f"{where}: not a valid ONNX model: {error}") from error
    for kind, expected, values in (
        ("inputs", signature.inputs, model.graph.input),
        ("outputs", signature.outputs, model.graph.output),
    ):
        found = _describe(values)
        if expected != found:
            raise BundleError(f"{where}: {kind} are {found}, the manifest says {expected}")
    return model


def _describe(values: Sequence[onnx.ValueInfoProto]) -> dict[str, str]:
    """Return element type and extents by name, a free first one as ``batch``, another free one as ``?``."""
    described = {}
    for value in values:
        tensor = value.type.tensor_type
        extents = [str(extent.dim_value) if extent.HasField("dim_value") else "?" for extent in tensor.shape.dim]
        if extents[:1] == ["?"]:
            extents[0] = "batch"
        described[value.name] = f"{_name_type(tensor.elem_type)} [{', '.join(extents)}]"
    return described


def _name_type(number: int) -> str:
    if number not in TensorProto.DataType.values():
        return f"type {number}"
    return helper.tensor_dtype_to_np_dtype(number).name if number else "no tensor"


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False

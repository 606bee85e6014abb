"""manifest.json and golden.json: the bundle's messages as proto3 JSON, read strictly.

Torch-free. Knows what the fields must look like; whether they are true is `verification`'s question.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from unrolled.v1.bundle_pb2 import Examples, Golden, Manifest
from unrolled_export.errors import BundleError
from unrolled_export.shape import check_shape, describe_graphs, is_plain

AnyMessage = TypeVar("AnyMessage", bound=Message)
FORMAT = 1
METADATA_KEY = "unrolled.manifest"
MANIFEST_FILE, GOLDEN_FILE, EXAMPLES_FILE = "manifest.json", "golden.json", "examples.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
PRECISION = re.compile(r"[a-z][a-z0-9]{0,15}")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> None:
    """Accept a bundle's name.

    Raises:
        BundleError: it is not 1 to 128 of a-z 0-9 . _ - beginning with a letter or digit.
    """
    if not NAME.fullmatch(name):
        raise BundleError(
            f"{name!r} cannot name a model: 1 to 128 characters of a-z, 0-9, dot, dash and underscore, "
            "beginning with a letter or digit"
        )


def to_pretty_json(message: Message) -> bytes:
    """Write a message for people: two spaces, fields in their order, maps by key, UTF-8."""
    return (json.dumps(_to_object(message), indent=2, ensure_ascii=False) + "\n").encode()


def to_dense_json(message: Message) -> bytes:
    """Write a message that is mostly numbers: without spaces, one line, UTF-8."""
    return (json.dumps(_to_object(message), separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def to_compact_json(manifest: Manifest) -> str:
    """Write a manifest without its `files` for the graph's metadata: no spaces, keys sorted."""
    lone = Manifest()
    lone.CopyFrom(manifest)
    lone.files.clear()
    return json.dumps(_to_object(lone), separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def parse_manifest(content: bytes) -> Manifest:
    """Read manifest.json.

    Raises:
        BundleError: not JSON, an unknown or ill-typed field, or a value out of its range.
    """
    manifest = _parse(content, Manifest(), MANIFEST_FILE)
    if manifest.format != FORMAT:
        raise BundleError(f"{MANIFEST_FILE}: format is {manifest.format}; this version reads {FORMAT}")
    check_name(manifest.name)
    check_shape(manifest)
    _check_variants(manifest)
    for name, digest in manifest.files.items():
        if not FILE_NAME.fullmatch(name) or not SHA256.fullmatch(digest):
            raise BundleError(f"{MANIFEST_FILE}: files has {name!r}: {digest!r}, not a file name and a sha256")
    return manifest


def parse_golden(content: bytes, manifest: Manifest, name: str = GOLDEN_FILE) -> Golden:
    """Read golden.json, or that of a variant, called `name`.

    Raises:
        BundleError: not JSON, an unknown or ill-typed field, a token outside the vocabulary, or nothing recorded.
    """
    golden = _parse(content, Golden(), name)
    vocabulary_size = len(manifest.vocabulary)
    if not is_plain(manifest):
        if not golden.runs or not all(run.outputs for run in golden.runs) or not 0 < golden.tolerance < 1:
            raise BundleError(f"{name}: runs with outputs and a tolerance between 0 and 1 are needed")
        return golden
    tokens = [*golden.prompt, *golden.greedy, *golden.sampled]
    if not golden.prompt or not golden.greedy or not golden.sampled or max(tokens) >= vocabulary_size:
        raise BundleError(f"{name}: a prompt, greedy and sampled tokens below {vocabulary_size} are needed")
    if len(golden.logits) != vocabulary_size or not 0 < golden.tolerance < 1:
        raise BundleError(f"{name}: {vocabulary_size} logits and a tolerance between 0 and 1 are needed")
    return golden


def parse_examples(content: bytes) -> Examples:
    """Read examples.json.

    Raises:
        BundleError: not JSON, an unknown or ill-typed field, or no example.
    """
    examples = _parse(content, Examples(), EXAMPLES_FILE)
    if not examples.examples:
        raise BundleError(f"{EXAMPLES_FILE}: has no example")
    return examples


def _check_variants(manifest: Manifest) -> None:
    precisions = ["fp32", *(variant.precision for variant in manifest.variants)]
    if len(set(precisions)) != len(precisions) or not all(map(PRECISION.fullmatch, precisions)):
        raise BundleError(f"{MANIFEST_FILE}: every variant needs a precision of its own, not {precisions[1:]}")
    files = [name for variant in manifest.variants for name in (variant.cell, variant.golden)]
    if manifest.variants and not is_plain(manifest):
        raise BundleError(f"{MANIFEST_FILE}: variants go with plain generation only")
    own = {MANIFEST_FILE, GOLDEN_FILE, EXAMPLES_FILE, *describe_graphs(manifest)}
    if len({*own, *files}) != len(own) + len(files) or not all(map(FILE_NAME.fullmatch, files)):
        raise BundleError(f"{MANIFEST_FILE}: every variant needs a cell and a golden file of its own, not {files}")


def _parse(content: bytes, message: AnyMessage, name: str) -> AnyMessage:
    try:
        return json_format.Parse(content.decode(), message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(f"{name}: {error}") from error


def _to_object(message: Message) -> dict[str, Any]:
    content: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if "files" in content:
        content["files"] = dict(sorted(content["files"].items()))
    return content

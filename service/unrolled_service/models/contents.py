"""What a bundle's folder held at one moment: the manifest without faults, and the files that a server uses.

From here on the folder is not looked at again: what was hashed is what is tried, and what was tried is what runs.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

from unrolled.v1.bundle_pb2 import Manifest
from unrolled_service.errors import BundleError
from unrolled_service.models import limits as bounds
from unrolled_service.models.bundle_files import check_listed, parse_message, read_file
from unrolled_service.models.limits import Limits
from unrolled_service.models.shape import CELL, describe_graphs, find_faults
from unrolled_service.settings import Precision

FORMAT = 1
MANIFEST, GOLDEN = "manifest.json", "golden.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Contents:
    """A bundle in memory.

    Attributes:
        place: where it was read, for people.
        manifest: without faults.
        files: by name, with the sha256 that the manifest lists; the manifest itself among them.
    """

    place: str
    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Its identity, in lower-case hex."""
        return hashlib.sha256(self.files[MANIFEST]).hexdigest()

    @property
    def digest(self) -> str:
        """The sha256 of all that ``pack`` returns, in lower-case hex."""
        digest = hashlib.sha256(self._head)
        for content in self.files.values():
            digest.update(content)
        return digest.hexdigest()

    @property
    def _head(self) -> bytes:
        sizes = {name: len(content) for name, content in self.files.items()}
        return json.dumps({"place": self.place, "sizes": sizes}).encode() + b"\n"

    def where(self, name: str) -> str:
        """Return the name of a file for people."""
        return f"{self.place}/{name}"

    def pack(self) -> bytes:
        """Return everything as bytes, for another process."""
        return b"".join([self._head, *self.files.values()])

    @classmethod
    def unpack(cls, stream: BinaryIO) -> Self:
        """Return what another process packed."""
        head = json.loads(stream.readline())
        files = {name: stream.read(size) for name, size in head["sizes"].items()}
        manifest = read_manifest(f"{head['place']}/{MANIFEST}", files[MANIFEST])
        return cls(head["place"], manifest, files)


def read_contents(
    folder: Path, precision: Precision, limits: Limits, *, place: str = "", below: Sequence[str] = ()
) -> Contents:
    """Read what a server uses of a folder, each file once.

    Args:
        folder: where the bundle lies.
        precision: which forms of the cell are used: one, or "auto" for all of them.
        limits: of sizes.
        place: what to call the folder in messages; empty for its path.
        below: the way from there to where it really lies, by folders that are no links.

    Raises:
        BundleError: naming the file and what is wrong with it.
    """
    place = place or str(folder)
    opened = _open_folder(folder, below, place)
    try:
        files = {MANIFEST: read_file(opened, place, MANIFEST, bounds.MANIFEST_BYTES)}
        manifest = read_manifest(f"{place}/{MANIFEST}", files[MANIFEST])
        left_bytes = limits.total_bytes
        for name, limit_bytes in _name_files(manifest, precision):
            files[name] = read_file(opened, place, name, min(limit_bytes or left_bytes, left_bytes))
            check_listed(f"{place}/{name}", name, files[name], manifest.files)
            left_bytes -= len(files[name])
    finally:
        os.close(opened)
    return Contents(place, manifest, files)


def read_manifest(where: str, content: bytes) -> Manifest:
    """Return a manifest without faults.

    Raises:
        BundleError: naming the first one.
    """
    manifest = parse_message(where, content, Manifest())
    for fault in chain(_find_name_faults(manifest), find_faults(manifest), _find_extent_faults(manifest)):
        raise BundleError(f"{where}: {fault}")
    return manifest


def _open_folder(folder: Path, below: Sequence[str], place: str) -> int:
    """Return the descriptor of a folder, found step by step so that no link leads elsewhere."""
    how = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    opened: list[int] = []
    try:
        opened.append(os.open(folder, how))
        for part in below:
            opened.append(os.open(part, how | os.O_NOFOLLOW, dir_fd=opened[-1]))
        return opened.pop()
    except NotADirectoryError:
        raise BundleError(f"{place}: is not a folder, or a link") from None
    except OSError as error:
        raise BundleError(f"{place}/{MANIFEST}: {error.strerror}") from error
    finally:
        for each in opened:
            os.close(each)


def _name_files(manifest: Manifest, precision: Precision) -> Iterator[tuple[str, int]]:
    """Yield what is to be read, and how large it may be; 0 for as much as is left."""
    forms = {"fp32": (CELL, GOLDEN)} | {form.precision: (form.cell, form.golden) for form in manifest.variants}
    for name in describe_graphs(manifest):
        if name != CELL:
            yield name, 0
    for form, (cell, golden) in forms.items():
        if precision in ("auto", form):
            yield cell, 0
            yield golden, bounds.GOLDEN_BYTES


def _find_name_faults(manifest: Manifest) -> Iterator[str]:
    if manifest.format != FORMAT:
        yield f"format {manifest.format} is not {FORMAT}"
    if not _NAME.fullmatch(manifest.name):
        yield "name is not 1 to 128 of a-z 0-9 . _ -"
    if len(manifest.files) > bounds.FILES:
        yield f"files has {len(manifest.files)} files, more than {bounds.FILES}"
    for name, digest in sorted(manifest.files.items()):
        if not _FILE_NAME.fullmatch(name):
            yield f"files has a file that is not beside the manifest: {name!r}"
        if not _SHA256.fullmatch(digest):
            yield f"files has no sha256 in lower-case hex for {name!r}"
    if len(manifest.variants) > bounds.FILES:
        yield f"variants has more than {bounds.FILES} forms"
    for form in manifest.variants:
        for name in (form.cell, form.golden):
            if not _FILE_NAME.fullmatch(name):
                yield f"variants has a file that is not beside the manifest: {name!r}"
        if {form.cell, form.golden} & {CELL, GOLDEN, MANIFEST} or form.cell == form.golden:
            yield "variants has a form without files of its own"
    if len({form.precision for form in manifest.variants} | {"fp32"}) <= len(manifest.variants):
        yield "variants has a precision twice, or fp32, which is cell.onnx"


def _find_extent_faults(manifest: Manifest) -> Iterator[str]:
    """Yield each size that is out of all proportion: what a manifest promises is made room for."""
    encoder = manifest.encoder
    for field, states in (("states", manifest.states), ("encoder.states", encoder.states)):
        if any(len(state.shape) > bounds.RANK for state in states):
            yield f"{field} has a shape of more than {bounds.RANK} extents"
            continue  # what their product has of digits takes long to compute, and cannot be said
        numbers = sum(math.prod(state.shape) for state in states)
        if numbers > bounds.STATE_NUMBERS:
            yield f"{field} has {numbers} numbers, more than {bounds.STATE_NUMBERS}"
    ports = {"input": manifest.input, "output": manifest.output, "condition.port": manifest.condition.port}
    for field, port in (ports | {"encoder.input": encoder.input}).items():
        if port.width > bounds.WIDTH:
            yield f"{field}.width is {port.width}, more than {bounds.WIDTH}"

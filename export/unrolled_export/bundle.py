"""The folder of a bundle: written whole or not at all, and read without following anything."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unrolled_export.errors import BundleError
from unrolled_export.manifest import MANIFEST_FILE


def digest(content: bytes) -> str:
    """Give the lower-case hex sha256."""
    return hashlib.sha256(content).hexdigest()


def check_place(folder: Path, *, force: bool) -> None:
    """Accept a place for a new bundle: nothing, an empty folder, or with `force` another bundle.

    Raises:
        BundleError: something else is there.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BundleError(f"{folder} exists and is not a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not force:
        raise BundleError(f"{folder} is not empty: choose another folder or replace the bundle in it with --force")
    if not (folder / MANIFEST_FILE).is_file():
        raise BundleError(f"{folder} is not empty and holds no {MANIFEST_FILE}: it is not a bundle to replace")


def write_bundle(folder: Path, files: Mapping[str, bytes], *, force: bool = False) -> None:
    """Write `files` into a temporary sibling and rename it to `folder` when complete.

    Raises:
        BundleError: the place is taken, see `check_place`.
        OSError: it cannot be written; nothing is left behind.
    """
    check_place(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        complete = temporary / "complete"
        complete.mkdir()
        for name, content in files.items():
            with (complete / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(temporary / "replaced")
        complete.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_bundle_file(folder: Path, name: str) -> bytes:
    """Read one regular file of a bundle, once.

    Raises:
        BundleError: it is missing, a link, or not readable.
    """
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{name} is not a regular file")
            return file.read()
    except FileNotFoundError as error:
        raise BundleError(f"{name} is missing") from error
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}") from error

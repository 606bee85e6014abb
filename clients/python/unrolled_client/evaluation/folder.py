"""A bundle's folder as far as measuring it needs: its manifest, its identity, its held-out items, its card."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from unrolled.v1 import bundle_pb2

MANIFEST, EXAMPLES, CARD = "manifest.json", "examples.json", "README.md"
Kind = TypeVar("Kind", bound=Message)


class NoBundle(ValueError):
    """A folder is no bundle, or lacks what is needed to measure it."""


def find_bundle(place: str) -> Path:
    """Return the folder of a bundle: the place itself, or that of the shipped bundle of this name.

    The server's package is looked for and not loaded. Where there is no such folder, the place is returned.
    """
    path = Path(place)
    server = find_spec("unrolled_service")
    for home in server.submodule_search_locations or () if server is not None else ():
        shipped = Path(home) / "bundles" / place
        if not path.exists() and path.name == place and shipped.is_dir():
            return shipped
    return path


@dataclass(frozen=True)
class Folder:
    """A bundle's folder.

    Attributes:
        path: where it lies.
        items: file of held-out items to take in place of those that came with it, or None.
    """

    path: Path
    items: Path | None = None

    @cached_property
    def manifest(self) -> bundle_pb2.Manifest:
        """Read what the bundle is.

        Raises:
            NoBundle: there is no manifest, or it is none.
        """
        return _parse(self.path / MANIFEST, bundle_pb2.Manifest())

    @property
    def sha256(self) -> str:
        """Return its identity."""
        return hashlib.sha256((self.path / MANIFEST).read_bytes()).hexdigest()

    @property
    def has_examples(self) -> bool:
        """Tell whether there are held-out items."""
        return self.items is not None or (self.path / EXAMPLES).is_file()

    @cached_property
    def examples(self) -> bundle_pb2.Examples:
        """Read the held-out items, at least one.

        Raises:
            NoBundle: there are none.
        """
        file = self.items or self.path / EXAMPLES
        examples = _parse(file, bundle_pb2.Examples())
        if not examples.examples:
            raise NoBundle(f"{file} has no items")
        return examples

    def note(self, name: str, line: str) -> None:
        """Write a line about a figure into the card, in place of an earlier one about the same figure.

        Args:
            name: the figure's name, with which the line begins.
            line: what to write.

        Raises:
            OSError: the card cannot be written.
        """
        card, begin = self.path / CARD, f"Through the server: **{name} "
        lines = card.read_text("utf-8").splitlines() if card.is_file() else []
        places = [place for place, each in enumerate(lines) if each.startswith(begin)]
        if places:
            lines[places[0]] = line
        else:
            place = _end_of_evaluation(lines)
            lines[place:place] = [line, ""] if place < len(lines) else ["", line]
        card.write_text("\n".join(lines) + "\n", "utf-8")


def _end_of_evaluation(lines: list[str]) -> int:
    """Return the line before which to add one: the end of the section about evaluation, or of the card."""
    begin = next((place for place, each in enumerate(lines) if each.startswith("## Evaluation")), len(lines))
    return next((place for place in range(begin + 1, len(lines)) if lines[place].startswith("## ")), len(lines))


def _parse(path: Path, message: Kind) -> Kind:
    try:
        return json_format.Parse(path.read_text("utf-8"), message)
    except OSError as error:
        raise NoBundle(f"{path}: {error.strerror or error}") from None
    except (ValueError, json_format.ParseError) as error:
        raise NoBundle(f"{path}: {error}") from None

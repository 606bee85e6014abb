"""A picture in characters that grows as its pieces come."""

import re
from collections.abc import Sequence

import click

from unrolled_client.cli.failure import Failure

SHADES = " ░▒▓█"
CHARACTERS_A_PIXEL = 2  # a character is about twice as high as wide


def to_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT.

    Raises:
        click.BadParameter: it is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size such as 16x16")
    return int(match[1]), int(match[2])


class Picture:
    """Pixels from 0, blank, to 1, in tiles: from left to right, then from top to bottom, and so within each tile."""

    def __init__(self, size: tuple[int, int], tile: tuple[int, int] | None = None) -> None:
        """Begin blank.

        Args:
            size: width and height in pixels.
            tile: width and height of each piece; None: pieces are as wide as the picture.

        Raises:
            Failure: the tiles do not fill the picture.
        """
        self._width, self._height = size
        self._tile = tile
        if tile is not None and (self._width % tile[0] or self._height % tile[1]):
            raise Failure(f"tiles of {tile[0]}x{tile[1]} do not fill a picture of {self._width}x{self._height}")
        self._rows = [[0.0] * self._width for _ in range(self._height)]
        self._filled = 0

    def add(self, pixels: Sequence[float]) -> None:
        """Put a piece where the next one belongs; what is beyond the picture is left out.

        Raises:
            Failure: a piece is not one of the picture's tiles.
        """
        wide, high = self._tile or (self._width, max(len(pixels) // self._width, 1))
        if len(pixels) != wide * high:
            raise Failure(f"a piece of {len(pixels)} pixels is not {wide}x{high}; --tile says what it is")
        across = self._width // wide
        left, top = self._filled % across * wide, self._filled // across * high
        for place, pixel in enumerate(pixels):
            if top + place // wide < self._height:
                self._rows[top + place // wide][left + place % wide] = pixel
        self._filled += 1

    def lines(self) -> list[str]:
        """Return the picture so far."""
        return ["".join(_shade(pixel) * CHARACTERS_A_PIXEL for pixel in row) for row in self._rows]


def _shade(pixel: float) -> str:
    return SHADES[min(max(round(pixel * (len(SHADES) - 1)), 0), len(SHADES) - 1)]

"""Watch the units of a language model while it writes, and colour its text by what some of them do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unrolled_client import Client
from unrolled_export.plot import INK, to_png

STATE = "c1"  # the memory of the upper layer of an LSTM
AT_ONCE = 256  # units that one call may ask for
STOPS = ".!?:;"
LINES, COLUMNS = 9, 56
COLOURS = "PuOr"  # violet is high and orange is low: told apart without red and green

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Watched:
    """A text and the units of a state after each of its characters, f64 `[characters, units]`."""

    text: str
    units: Floats


@dataclass(frozen=True)
class Found:
    """A unit that follows something that people see.

    Attributes:
        unit: its place in the state.
        what: it follows.
        correlation: of the two, over the half of the text that had no part in the choice.
    """

    unit: int
    what: str
    correlation: float


def watch(client: Client, model: str, length: int, seed: int) -> Watched:
    """Let a model write, again for each group of units that fits a call: the same seed gives the same text.

    Args:
        client: of a server that serves it.
        model: name of a bundle with a state `STATE`.
        length: characters to watch.
        seed: of the draws.
    """
    size = client.model(model).hidden_size
    texts, parts = set[str](), []
    for first in range(0, size, AT_ONCE):
        units = range(first, min(first + AT_ONCE, size))
        asked = {"model": model, "max_tokens": length + 1, "temperature": 0.7, "seed": seed}
        with client.generate("\n", activations=(STATE, units), **asked) as stream:  # type: ignore[arg-type]
            texts.add(stream.read())
            parts.append(np.array(stream.activations))
    (text,) = texts
    # What comes with a character is the state that it was drawn from, that after the character before.
    return Watched(text[:-1], np.concatenate(parts, axis=1)[1:])


def find_units(watched: Watched) -> Iterator[Found]:
    """Find for each thing that is looked for the unit that follows it most closely."""
    half = len(watched.text) // 2
    for what, mark in SOUGHT.items():
        marks = np.array(mark(watched.text), dtype=np.float64)
        early = [abs(correlate(column, marks[:half])) for column in watched.units[:half].T]
        unit = int(np.argmax(early))
        yield Found(unit, what, correlate(watched.units[half:, unit], marks[half:]))


def correlate(left: Floats, right: Floats) -> float:
    """Give Pearson's correlation of two series; 0 where one of them never changes."""
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / scale if scale else 0.0


def place_in_line(text: str) -> list[int]:
    """Count the characters since a line began."""
    return [place - text.rfind("\n", 0, place) - 1 for place in range(len(text))]


def in_name(text: str) -> list[bool]:
    """Tell the names of those who speak: a line that ends with a colon, behind an empty one."""
    marks, before = list[bool](), ""
    for line in text.split("\n"):
        marks += [line.endswith(":") and not before] * len(line) + [False]
        before = line
    return marks[: len(text)]


def since_stop(text: str) -> list[int]:
    """Count the characters since the last mark that ends a sentence."""
    return [place - max(text.rfind(stop, 0, place) for stop in STOPS) - 1 for place in range(len(text))]


SOUGHT: dict[str, Callable[[str], list[int] | list[bool]]] = {
    "how far the line has come": place_in_line,
    "that it writes the name of who speaks": in_name,
    "how long ago a sentence ended": since_stop,
}


def draw_units(watched: Watched, found: list[Found], begin: int) -> bytes:
    """Draw the same passage once for every unit, coloured by it, as a PNG.

    Args:
        watched: the text and its units.
        found: which units.
        begin: where the passage begins.
    """
    lines = watched.text[begin:].split("\n")[:LINES]
    figure = Figure(figsize=(8, 0.18 * (LINES + 1.5) * len(found) + 0.3), dpi=130, layout="constrained")
    for axes, each in zip(figure.subplots(len(found), 1, squeeze=False)[:, 0], found, strict=True):
        correlation = f"{each.correlation:.2f}".replace("-", "\N{MINUS SIGN}")
        title = f"unit {each.unit} of {STATE} follows {each.what}, r = {correlation}"
        axes.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=9)
        _draw_passage(axes, lines, watched.units[begin:, each.unit] / _scale(watched.units[:, each.unit]))
    figure.supxlabel("violet is above zero, orange below; full colour is the unit's 99th percentile", fontsize=9)
    return to_png(figure, colours=96)


def _scale(column: Floats) -> float:
    """Give what is full colour: all but the largest hundredth."""
    return float(np.quantile(np.abs(column), 0.99)) or 1.0


def _draw_passage(axes: Axes, lines: list[str], values: Floats) -> None:
    shades, place = np.full((LINES, COLUMNS), np.nan), 0
    for row, line in enumerate(lines):
        shown = min(len(line) + 1, COLUMNS)  # the line's end is a character too
        shades[row, :shown] = values[place : place + shown]
        for column, letter in enumerate(line[:COLUMNS]):
            is_dark = abs(shades[row, column]) > 0.65
            axes.text(
                *(column, row),
                letter,
                family="monospace",
                fontsize=10.5,
                ha="center",
                va="center_baseline",
                color="white" if is_dark else "black",
            )
        place += len(line) + 1
    axes.imshow(shades, cmap=colormaps[COLOURS], vmin=-1, vmax=1, aspect="auto")
    axes.set_axis_off()

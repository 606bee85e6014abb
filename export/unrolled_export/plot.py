"""Learning curves and drawn images as pictures, in colours that colour-blind people tell apart."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from unrolled_export.curve import Curve

COLOURS = 64
TRAIN, VALIDATION, INK = "#8fa3bf", "#d1495b", "#333333"
# Okabe & Ito 2008, https://jfly.uni-koeln.de/color/; what is left of the difference is made by dashes.
LINES = cycler(
    color=["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#999999"],
    linestyle=["-", "-", "--", "--", "-.", "-", ":", "-."],
)


def draw_curve(curve: Curve, title: str) -> bytes:
    """Draw the losses by epoch, the best one marked, as a PNG. `curve` has at least one row."""
    figure, axes = begin_plot(title)
    epochs = [row.epoch for row in curve.rows]
    axes.plot(epochs, [row.train_nats for row in curve.rows], color=TRAIN, linewidth=2, label="training")
    held_out = [(row.epoch, row.validation_nats) for row in curve.rows if row.validation_nats is not None]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=VALIDATION, linewidth=2, label="validation")
    best = curve.best
    if best is not None:
        axes.scatter([best.epoch], [best.judged], s=60, color=VALIDATION if held_out else TRAIN, zorder=3)
        axes.annotate(
            f"best {best.judged:.4f} nats/char, epoch {best.epoch}",
            (best.epoch, best.judged),
            xytext=(-8, 14),
            textcoords="offset points",
            ha="right",
            color=INK,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats per character")
    bits = axes.secondary_yaxis("right", functions=(_to_bits, _to_nats))
    bits.set_ylabel("bits per character")
    bits.spines["right"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return to_png(figure)


def draw_losses(curves: Mapping[str, Sequence[float]], title: str, label: str, marks: Mapping[str, float]) -> bytes:
    """Draw named losses by round on a logarithmic axis, with marked levels, as a PNG."""
    figure, axes = begin_plot(title)
    for name, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, linewidth=2, label=name)
    for name, level in marks.items():
        axes.axhline(level, color=INK, linewidth=1, linestyle=":")
        last = max(map(len, curves.values()))
        axes.annotate(name, (last, level), xytext=(0, -12), textcoords="offset points", ha="right", color=INK)
    axes.set_yscale("log")
    axes.set_xlabel("round")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return to_png(figure)


def draw_lags(curves: Mapping[str, Sequence[float]], title: str) -> bytes:
    """Draw norms of gradients by lag, from 1, on a logarithmic axis, the first curve in front, as a PNG."""
    figure, axes = begin_plot(title)
    for place, (name, norms) in enumerate(curves.items()):
        shown = [norm if norm > 0 else math.nan for norm in norms]
        axes.plot(range(1, len(norms) + 1), shown, linewidth=1.5 if place else 3, label=name, zorder=2 if place else 3)
    axes.set_yscale("log")
    axes.set_xlabel("lag in steps")
    axes.set_ylabel("norm of dL/dh")
    axes.legend(frameon=False, fontsize="small")
    return to_png(figure)


def draw_sheet(images: NDArray[np.float32], names: Sequence[str]) -> bytes:
    """Draw images f32 `[rows, columns, H, W]`, 0 to 1, a name above each column, as a PNG."""
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(columns * 0.8, rows * 0.8 + 0.3), dpi=150, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = places[row][column]
            axes.imshow(images[row, column], cmap="gray_r", vmin=0, vmax=1)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(names[column], color=INK)
    return to_png(figure)


def begin_plot(title: str) -> tuple[Figure, Axes]:
    """Begin a plot, 1,200 pixels wide."""
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes, title)
    return figure, axes


def style_axes(axes: Axes, title: str) -> None:
    """Give the axes of a plot their title, and colours to the lines that will be drawn there."""
    axes.set_prop_cycle(LINES)
    axes.set_title(title, loc="left", color=INK, fontweight="bold")
    axes.grid(axis="y", color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def to_png(figure: Figure, colours: int = COLOURS) -> bytes:
    """Render with a palette of at most 256: a fourth of the size, and plots have few colours."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png")
    image = Image.open(whole).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True)
    return small.getvalue()


def _to_bits(nats: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(nats, np.float64) / math.log(2)


def _to_nats(bits: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(bits, np.float64) * math.log(2)

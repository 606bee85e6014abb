"""The learning curve as a picture. The only matplotlib import."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from unrolled_export.curve import Curve

TRAIN, VALIDATION, INK = "#8fa3bf", "#d1495b", "#333333"


def draw_curve(curve: Curve, title: str) -> bytes:
    """Draw the losses by epoch, the best one marked, as a PNG. `curve` has at least one row."""
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
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
    axes.set_title(title, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats per character")
    bits = axes.secondary_yaxis("right", functions=(_to_bits, _to_nats))
    bits.set_ylabel("bits per character")
    axes.grid(axis="y", color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    bits.spines["right"].set_visible(False)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _to_bits(nats: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(nats, np.float64) / math.log(2)


def _to_nats(bits: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(bits, np.float64) * math.log(2)

"""Draw the pictures of docs/tutorial.md: what the shipped models answer, asked through a server on this machine."""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from examples.watched import draw_units, find_units, in_name, watch
from unrolled_client import Client
from unrolled_client.evaluation.recognition import look, to_image
from unrolled_client.evaluation.serving import serving
from unrolled_export.plot import INK, TRAIN, VALIDATION, style_axes, to_png

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ROOT / "service" / "unrolled_service" / "bundles"
PICTURES = ROOT / "docs" / "pictures"
SERVED = ("shakespeare", "digits-glimpses", "digits-draw", "circles-quadrants")
CURVES = {
    "digits-glimpses": "nats per image",
    "digits-draw": "nats per character",
    "circles-quadrants": "squared error per pixel",
    "tagger": "nats per character",
    "dates": "nats per character",
    "one-to-one": "nats per image",
}
SIDE, PATCH, STRIDE = 8, 4, 2  # of a digit, of a glimpse, and from glimpse to glimpse, in pixels
CIRCLES, DRAWINGS = 3, 10
TO_COME = "#dde5ee"

Image = NDArray[np.float64]


def draw_digits(client: Client) -> bytes:
    """Draw every class as far as it has come after each pair of its rows.

    Of `DRAWINGS` drawings it is the one that `digits-glimpses` is surest of: not every one can be read.
    """
    model, judge = client.model("digits-draw"), client.model("digits-glimpses")
    assert model.condition is not None
    names, images = model.condition.names, []
    for name in names:
        judged = []
        for seed in range(1, DRAWINGS + 1):
            with client.generate(model=model.name, condition=name, temperature=0.6, seed=seed) as stream:
                image = to_image(stream.read(), model.vocabulary)
            seen = client.classify([*look(image, judge.input.width)], model=judge.name)
            judged.append((seen.ranked(judge.output.names)[name], image))
        images.append(max(judged)[1])
    stages = range(2, SIDE + 1, 2)
    figure = Figure(figsize=(8, 3.5), dpi=150, layout="constrained")
    places = figure.subplots(len(stages), len(names))
    for column, (name, image) in enumerate(zip(names, images, strict=True)):
        for row, shown in enumerate(stages):
            _show(places[row, column], np.array(image[:shown]), SIDE)
        places[0, column].set_title(name, color=INK)
    for row, shown in enumerate(stages):
        _name_row(places[row, 0], f"{shown * (SIDE + 1)} chars")
    return to_png(figure)


def draw_circles(client: Client, bundles: Path) -> bytes:
    """Draw held-out circles, a quadrant more from column to column, and what was wanted beside them."""
    items = _examples(bundles / "circles-quadrants")[:CIRCLES]
    figure = Figure(figsize=(8, 4.6), dpi=150, layout="constrained")
    places = figure.subplots(len(items), 5)
    for row, item in zip(places, items, strict=True):
        with client.generate(model="circles-quadrants", condition=item["condition"]) as stream:
            for _ in stream:
                pass
        for axes, quadrants in zip(row, [stream.vectors[: n + 1] for n in range(4)], strict=False):
            _show(axes, _join(quadrants), 16)
        _show(row[4], _join([each["values"] for each in item["wanted"]["vectors"]]), 16)
        across, down, radius = item["condition"]
        _name_row(row[0], f"across {across:.2f}\ndown {down:.2f}\nradius {radius:.2f}")
    titles = ("1 quadrant", "2", "3", "4", "wanted")
    for axes, title in zip(places[0], titles, strict=True):
        axes.set_title(title, color=INK)
    return to_png(figure)


def draw_glimpses(client: Client, bundles: Path) -> bytes:
    """Draw what a model says after each glimpse, of the held-out digit over which it changes its mind most."""
    names = client.model("digits-glimpses").output.names
    seen = []
    for item in _examples(bundles / "digits-glimpses"):
        glimpses = [each["values"] for each in item["inputs"]["vectors"]]
        with client.session(model="digits-glimpses") as session:
            answers = [session.classify([glimpse]) for glimpse in glimpses]
        if answers[-1].label == names[item["wanted"]["tokens"][0]]:
            changes = sum(one.label != other.label for one, other in pairwise(answers))
            seen.append((changes, glimpses, answers))
    _, glimpses, answers = max(seen, key=lambda each: each[0])
    figure = Figure(figsize=(8, 5.2), dpi=150, layout="constrained")
    grid = figure.add_gridspec(2, len(glimpses), height_ratios=(1, 4))
    image = np.full((SIDE, SIDE), np.nan)
    for number, (glimpse, answer) in enumerate(zip(glimpses, answers, strict=True)):
        top, left = (place * STRIDE for place in divmod(number, 3))
        image[top : top + PATCH, left : left + PATCH] = np.reshape(glimpse, (PATCH, PATCH))
        axes = figure.add_subplot(grid[0, number])
        _show(axes, image, SIDE)
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), PATCH, PATCH, fill=False, edgecolor=VALIDATION, linewidth=2))
        axes.set_title(f"says {answer.label}", color=INK, fontsize=10)
    axes = figure.add_subplot(grid[1, :])
    chances = np.array([answer.probabilities for answer in answers]).T
    shown = axes.imshow(chances, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for label, row in enumerate(chances):
        for number, chance in enumerate(row):
            if chance >= 0.05:
                colour = "white" if chance > 0.6 else INK
                axes.text(number, label, f"{chance:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(glimpses)), [str(number + 1) for number in range(len(glimpses))])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("glimpses seen")
    axes.set_ylabel("class")
    figure.colorbar(shown, ax=axes, label="probability", pad=0.01)
    return to_png(figure, colours=256)


def draw_curves(bundles: Path) -> bytes:
    """Draw how the small models were trained: the loss on what they learn from and on what is held back."""
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    places = figure.subplots(2, 3).flat
    for axes, (name, unit) in zip(places, CURVES.items(), strict=True):
        rows = [*csv.DictReader((bundles / name / "curve.csv").read_text().splitlines())]
        style_axes(axes, name)
        rounds = [int(row["round"]) for row in rows]
        for column, colour, style in (("training", TRAIN, "--"), ("validation", VALIDATION, "-")):
            axes.plot(rounds, [float(row[column]) for row in rows], color=colour, linestyle=style, label=column)
        axes.set_yscale("log")
        if np.divide(*axes.get_ylim()[::-1]) < 10:  # too narrow for the ticks of a logarithm
            axes.set_yscale("linear")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_ylabel(unit)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.title.set_size(10)
    figure.axes[0].legend(frameon=False, fontsize="small")
    return to_png(figure)


def draw_gradients() -> bytes:
    """Train the four letters of `hello`, which takes seconds, and let `unrolled inspect` draw its gradients."""
    with tempfile.TemporaryDirectory() as folder:
        run, picture = Path(folder, "hello"), Path(folder, "gradients.png")
        for words in (["train", "hello", "-o", run], ["inspect", "gradients", run, "-o", picture]):
            subprocess.run([sys.executable, "-m", "unrolled_client", *map(str, words)], check=True, capture_output=True)
        return picture.read_bytes()


def draw_text(client: Client) -> bytes:
    """Draw a passage of the second half of a text as some units of the shipped model see it."""
    watched = watch(client, "shakespeare", 4000, seed=7)
    names = in_name(watched.text)
    begin = next(place for place in range(len(names) // 2, len(names)) if names[place] and not names[place - 1])
    return draw_units(watched, [*find_units(watched)], begin)


def make(output: Path, bundles: Path, named: list[str]) -> None:
    """Write the pictures that are named, or all."""
    with serving([bundles / name for name in SERVED], {}) as target, Client(target) as client:
        makers: dict[str, Callable[[], bytes]] = {
            "digits": lambda: draw_digits(client),
            "circles": lambda: draw_circles(client, bundles),
            "glimpses": lambda: draw_glimpses(client, bundles),
            "curves": lambda: draw_curves(bundles),
            "gradients": draw_gradients,
            "units": lambda: draw_text(client),
        }
        output.mkdir(parents=True, exist_ok=True)
        for name in named or makers:
            file = output / f"{name}.png"
            file.write_bytes(makers[name]())
            print(f"{file}  {file.stat().st_size / 1024:.0f} KiB")


def _examples(bundle: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((bundle / "examples.json").read_text())["examples"]
    return found


def _join(quadrants: Any) -> Image:
    """Put what there is of four quadrants together, each f64 `[64]`; the rest is to come."""
    image = np.full((16, 16), np.nan)
    for place, pixels in enumerate(quadrants):
        top, left = (8 * each for each in divmod(place, 2))
        image[top : top + 8, left : left + 8] = np.reshape(pixels, (8, 8))
    return image


def _show(axes: Axes, image: Image, side: int) -> None:
    """Show a picture from its top; what is to come is tinted."""
    axes.set_facecolor(TO_COME)
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_color("#999999")


def _name_row(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, rotation=0, ha="right", va="center", color=INK)


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to draw (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=PICTURES, help="folder to write (default: %(default)s)")
    parser.add_argument("--bundles", type=Path, default=BUNDLES, help="folder of bundles (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    make(options.output, options.bundles, options.names)

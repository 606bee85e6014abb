"""`unrolled inspect`: what can be seen in a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unrolled_export.cli.failure import failures_told

if TYPE_CHECKING:
    from torch import Tensor

    from unrolled_export.model import SequenceModel


@click.group()
def inspect() -> None:
    """Look into a trained model."""


@inspect.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    default="gradients.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture to write.",
)
@click.option("--steps", type=click.IntRange(2, 10_000), default=100, show_default=True, help="Longest lag.")
def gradients(*, checkpoint: Path, output: Path, steps: int) -> None:
    """Measure how far back the gradient of CHECKPOINT reaches, a run's folder or its best.pt.

    The norm of dL/dh over the lag, beside fresh models of its size: Elman, GRU and LSTM, clipped and not, with and
    without an orthogonal start and an open forget gate.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from unrolled_export.files import write_atomically  # noqa: PLC0415
    from unrolled_export.gradients import measure_lags, measure_starts  # noqa: PLC0415
    from unrolled_export.plot import draw_lags  # noqa: PLC0415

    with failures_told():
        model, inputs, targets = _open(checkpoint, steps)
        curves = {f"this model, {model.config.cell}": measure_lags(model, inputs, targets)}
        curves |= dict(measure_starts(model, inputs, targets))
        write_atomically(output, draw_lags(curves, f"{checkpoint.resolve().name}: how far back the gradient reaches"))
    table = Table(box=None, padding=(0, 2))
    lags = [lag for lag in (1, 3, 10, 30, 100, 300, 1000) if lag < len(inputs)] + [len(inputs)]
    for column in ("norm of dL/dh at lag", *map(str, lags)):
        table.add_column(column)
    for name, norms in curves.items():
        table.add_row(name, *(f"{norms[lag - 1]:.2g}" for lag in lags))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\n{output}", soft_wrap=True)


def _open(checkpoint: Path, steps: int) -> tuple[SequenceModel, Tensor, Tensor]:
    """Give a model, what it reads, and what is wanted of the last step."""
    import torch  # noqa: PLC0415

    from unrolled_export.course import read_course  # noqa: PLC0415
    from unrolled_export.ensemble import Ensemble  # noqa: PLC0415
    from unrolled_export.errors import CheckpointError  # noqa: PLC0415
    from unrolled_export.trained import read_trained  # noqa: PLC0415

    course = read_course(checkpoint)
    if course is None:
        trained = read_trained(checkpoint)
        tokens = trained.sample
        if len(tokens) < 2 * steps:  # nothing was held out: any text shows how gradients flow
            tokens = torch.randint(
                len(trained.vocabulary), (8 * (steps + 1),), generator=torch.Generator().manual_seed(0)
            )
        count = min(32, len(tokens) // (steps + 1))
        rows = tokens[: count * (steps + 1)].view(count, steps + 1).t()
        return trained.build(), rows[:-1], rows[-1]
    lesson = course.lesson()
    if not isinstance(lesson.model, Ensemble):
        raise CheckpointError(f"{course.recipe} has no state: no gradient flows back in time")
    batch = lesson.validation
    rows, wanted = batch.inputs[:steps, :32], batch.targets[:steps, :32]
    return lesson.model.cell, rows, wanted[-1]

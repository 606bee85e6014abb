"""`unrolled export`: the best weights of a run become a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from unrolled_export.cli.failure import failures_told

if TYPE_CHECKING:
    from unrolled.v1.bundle_pb2 import Manifest


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option("--name", help="What callers ask for.  [default: the folder's name]")
@click.option("--description", default="", help="One line for people.")
@click.option(
    "--license",
    "licence",
    default="not stated",
    show_default=True,
    help="Licence of the weights, for the card.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="int8 adds a smaller, faster variant.",
)
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text of the training, to measure int8 on.  [default: what the checkpoint has]",
)
@click.option(
    "--accept-loss",
    type=click.FloatRange(0),
    metavar="NATS",
    help="How much int8 may lose per character.  [default: 0.01]",
)
@click.option(
    "--examples",
    type=click.IntRange(1),
    metavar="ITEMS",
    help="Held-out items of a recipe to put in the bundle.  [default: 100, fewer where they are long]",
)
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
def export(
    *,
    checkpoint: Path,
    output: Path,
    name: str | None,
    description: str,
    licence: str,
    precision: Literal["fp32", "int8"],
    text: Path | None,
    accept_loss: float | None,
    examples: int | None,
    force: bool,
) -> None:
    """Export CHECKPOINT, a run's folder or its best.pt, to a bundle.

    The cell is compared with PyTorch, and int8 with fp32, before anything is written.
    """
    for option, value in (("--text", text), ("--accept-loss", accept_loss)):
        if value is not None and precision == "fp32":
            raise click.UsageError(f"{option} goes with --precision int8")
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False)
    with failures_told():
        with console.status("exporting and comparing with PyTorch"):
            from unrolled_export.course import read_course  # noqa: PLC0415
            from unrolled_export.course_bundle import KEPT_EXAMPLES, publish_course  # noqa: PLC0415
            from unrolled_export.publication import publish  # noqa: PLC0415
            from unrolled_export.variant import ACCEPTED_LOSS  # noqa: PLC0415

            name = output.resolve().name if name is None else name
            course = read_course(checkpoint)
            if course is not None:
                if precision != "fp32":
                    raise click.UsageError(f"--precision {precision} goes with models of text; this is {course.recipe}")
                folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
                manifest = publish_course(
                    course,
                    folder,
                    output,
                    name=name,
                    description=description,
                    licence=licence,
                    force=force,
                    kept=KEPT_EXAMPLES if examples is None else examples,
                )
                _conclude(manifest, output)
                return
            if examples is not None:
                raise click.UsageError("--examples goes with what a recipe made")
            manifest = publish(
                checkpoint,
                output,
                name=name,
                description=description,
                licence=licence,
                precision=precision,
                text=text,
                accepted_loss=ACCEPTED_LOSS if accept_loss is None else accept_loss,
                force=force,
            )
        _conclude(manifest, output)


def _conclude(manifest: Manifest, output: Path) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from unrolled_export.bundle import digest  # noqa: PLC0415
    from unrolled_export.manifest import MANIFEST_FILE  # noqa: PLC0415
    from unrolled_export.shape import is_plain  # noqa: PLC0415

    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    architecture = manifest.architecture
    table.add_row("name", f"[bold]{manifest.name}[/]")
    table.add_row("cell", f"{architecture.cell} {architecture.layers} x {architecture.hidden_size}")
    table.add_row("parameters", f"{architecture.parameters:,}")
    for figure in manifest.evaluation.figures:
        table.add_row(figure.name, f"{figure.value:.4f}")
    if manifest.evaluation.characters:
        table.add_row("held out", f"{manifest.evaluation.nats_per_char:.4f} nats/char")
    for variant in manifest.variants:
        loss = variant.evaluation.nats_per_char - variant.baseline.nats_per_char
        table.add_row(variant.precision, f"{variant.evaluation.nats_per_char:.4f} nats/char, {loss:+.4f} against fp32")
    table.add_row("identity", digest((output / MANIFEST_FILE).read_bytes()))
    console.print(table)
    verb = "serve --bundle" if is_plain(manifest) else "verify"  # a server takes plain generation alone
    console.print(f"\n[green]equal to PyTorch.[/] Next: [bold]unrolled {verb} {output}[/]", soft_wrap=True)

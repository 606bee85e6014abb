"""`unrolled train RECIPE` for recipes on sequences, and `unrolled recipes`, which lists all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unrolled_export.cli.failure import failures_told
from unrolled_export.recipes import RECIPES

if TYPE_CHECKING:
    from unrolled_export.fitting import Round
    from unrolled_export.lesson import Settings


TAKEN = {"what", "output", "seed", "cell", "hidden", "rounds", "chunk", "threads"}


@click.command()
def recipes() -> None:
    """List what `unrolled train` knows by name, and the figure that each one is to reach on held-out data."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2))
    for column in ("recipe", "shape", "learns", "to reach"):
        table.add_column(column, overflow="fold")
    for name, recipe in RECIPES.items():
        table.add_row(f"[bold]{name}[/]", recipe.shape, recipe.about, recipe.goal)
    Console(highlight=False).print(table)


def teach(recipe: str, given: Mapping[str, Any], options: Mapping[str, Any], command: str) -> None:
    """Train a recipe on sequences and print what came out.

    Ctrl-C and SIGTERM end it with 130 or 143, and leave nothing.

    Args:
        recipe: its name.
        given: the options that were given; the recipe decides the others.
        options: all options, with their defaults.
        command: what was typed.

    Raises:
        click.UsageError: an option was given that a recipe decides by itself.
    """
    for name in given.keys() - TAKEN:
        raise click.UsageError(f"{name} does not go with the recipe {recipe}")
    with failures_told():
        import torch  # noqa: PLC0415

        from unrolled_export.lesson import Settings  # noqa: PLC0415

        if options["threads"] is not None:
            torch.set_num_threads(options["threads"])
        told = {name: given[name] for name in ("cell", "hidden", "rounds", "chunk") if name in given}
        settings = Settings(seed=options["seed"], **told)
    _train(recipe, settings, options["output"], command)


def _train(recipe: str, settings: Settings, folder: Path, command: str) -> None:
    from rich.console import Console  # noqa: PLC0415

    from unrolled_export.course_run import train_course  # noqa: PLC0415
    from unrolled_export.interruption import Interrupted, Interruption  # noqa: PLC0415

    console = Console(highlight=False)
    console.print(f"[bold]{recipe}[/], {RECIPES[recipe].shape}: {RECIPES[recipe].about}")
    started = time.monotonic()

    def tell(each: Round) -> None:
        mark = "   [green]best[/]" if each.is_best else ""
        console.print(
            f"round {each.number:>3}   training {each.training:.5f}   validation [bold]{each.validation:.5f}[/]"
            f"   [dim]{time.monotonic() - started:,.0f} s[/]{mark}"
        )

    with failures_told():
        try:
            with Interruption() as interruption:
                course = train_course(recipe, settings, folder, command, tell, interruption.check)
        except Interrupted as interrupted:
            console.print(f"[yellow]{interrupted}[/]: nothing is kept")
            sys.exit(128 + interrupted.signal_number)
    console.print()
    for figure in course.figures:
        console.print(f"held out: [bold]{figure.name} {figure.value:.4f}[/] over {figure.count:,}", soft_wrap=True)
    console.print(f"to reach: {RECIPES[recipe].goal}   [dim]{time.monotonic() - started:,.0f} s in all[/]")
    console.print(f"\nNext: [bold]unrolled export {folder} -o BUNDLE[/]", soft_wrap=True)

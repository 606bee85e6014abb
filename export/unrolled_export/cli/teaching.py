"""`unrolled train RECIPE` for recipes on sequences, and `unrolled recipes`, which lists all of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unrolled_export.cli.failure import failures_told
from unrolled_export.recipes import RECIPES

if TYPE_CHECKING:
    from unrolled_export.course_run import CourseRun

TAKEN = {"what", "output", "seed", "cell", "hidden", "rounds", "chunk", "patience", "threads", "resume"}


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

    Ctrl-C and SIGTERM end it with 130 or 143; the same command with --resume continues after the last round.

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

        from unrolled_export.course_run import CourseRun  # noqa: PLC0415
        from unrolled_export.lesson import Settings  # noqa: PLC0415

        if options["threads"] is not None:
            torch.set_num_threads(options["threads"])
        told = {name: given[name] for name in ("cell", "hidden", "rounds", "chunk", "patience") if name in given}
        run = CourseRun(recipe, Settings(seed=options["seed"], **told), options["output"], command)
        run.open(resume=options["resume"])
    _proceed(run, options["output"])


def _proceed(run: CourseRun, folder: Path) -> None:
    from unrolled_export.cli.teaching_console import TeachingConsole  # noqa: PLC0415
    from unrolled_export.interruption import Interrupted, Interruption  # noqa: PLC0415

    with failures_told(), TeachingConsole() as console:
        console.introduce(run, folder)
        try:
            with Interruption() as interruption:
                course = run.proceed(interruption, console)
        except Interrupted as interrupted:
            console.say_goodbye(interrupted, folder)
            sys.exit(128 + interrupted.signal_number)
        console.conclude(course, folder)

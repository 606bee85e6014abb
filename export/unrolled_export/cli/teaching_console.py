"""What `unrolled train RECIPE` shows: a live bar with the time that remains on a terminal, a line a round elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unrolled_export.course import Course
from unrolled_export.course_run import CourseRun
from unrolled_export.fitting import Round
from unrolled_export.interruption import Interrupted
from unrolled_export.recipes import RECIPES


class TeachingConsole:
    """Report a recipe's training to people."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("updates at most"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._part = ""
        self._recipe = ""
        self._started = time.monotonic()

    def __enter__(self) -> TeachingConsole:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def introduce(self, run: CourseRun, folder: Path) -> None:
        """Say what is trained."""
        self._recipe = run.recipe
        recipe = RECIPES[run.recipe]
        self._console.print(f"[bold]{run.recipe}[/], {recipe.shape}: {recipe.about}")
        rounds = sum(len(fitter.rounds) for fitter in run.fitters.values())
        if rounds:
            self._console.print(f"[green]continuing[/] {folder} after {rounds} rounds")

    def on_update(self, part: str, done: int, total: int) -> None:
        """Move the bar; another part begins another bar."""
        if part != self._part:
            self._part = part
            self._progress.reset(self._task, description=part, total=total, completed=done)
        else:
            self._progress.update(self._task, completed=done)

    def on_round(self, part: str, each: Round) -> None:
        """Print a line."""
        mark = "   [green]best[/]" if each.is_best else ""
        name = "" if part == self._recipe else f"{part}, "
        self._console.print(
            f"{name}round {each.number:>3}   training {each.training:.5f}   validation [bold]{each.validation:.5f}[/]"
            f"   [dim]{self._elapsed()}[/]{mark}"
        )

    def say_goodbye(self, interrupted: Interrupted, folder: Path) -> None:
        """Say that the rounds are saved and how to go on."""
        self._progress.stop()
        self._console.print(
            f"[yellow]{interrupted}[/]: every complete round is saved in {folder}; "
            "the same command with --resume continues"
        )

    def conclude(self, course: Course, folder: Path) -> None:
        """Print what came out and what to do with it."""
        self._progress.stop()
        self._console.print()
        for figure in course.figures:
            self._console.print(
                f"held out: [bold]{figure.name} {figure.value:.4f}[/] over {figure.count:,}", soft_wrap=True
            )
        self._console.print(f"to reach: {RECIPES[course.recipe].goal}   [dim]{self._elapsed()} in all[/]")
        self._console.print(f"\nNext: [bold]unrolled export {folder} -o BUNDLE[/]", soft_wrap=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:,.0f} s"

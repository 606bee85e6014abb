"""What `unrolled train` shows: a live bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from unrolled_export.curve import CurveRow
from unrolled_export.interruption import Interrupted
from unrolled_export.run import Run
from unrolled_export.trained import Trained
from unrolled_export.training import Trainer

LINES = 40


class TrainingConsole:
    """Report a run to people."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[loss]}"),
            TextColumn("[dim]{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, loss="", speed="")
        self._epochs = 1
        self._started = time.monotonic()

    def __enter__(self) -> TrainingConsole:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def introduce(self, run: Run, folder: Path) -> None:
        """Say what is trained on what."""
        trainer = run.trainer
        model, training, corpus = trainer.model.config, trainer.config, trainer.corpus
        self._epochs = training.epochs
        numbers = sum(weight.numel() for weight in trainer.model.parameters())
        self._console.print(
            f"[bold]{model.cell} {model.layers} x {model.hidden}[/], {numbers:,} parameters, {training.precision}"
        )
        self._console.print(
            f"{corpus.name}: {len(corpus.training):,} characters to learn from, "
            f"{len(corpus.validation):,} held out, {len(corpus.vocabulary)} symbols"
        )
        if trainer.step:
            self._console.print(f"[green]continuing[/] {folder} after {trainer.step:,} updates")
        self._progress.update(self._task, total=training.epochs * trainer.streams.chunks, completed=trainer.step)

    def on_chunk(self, trainer: Trainer, loss: float, chars_per_s: float) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            completed=trainer.step,
            description=f"epoch {trainer.progress.epoch + 1}/{trainer.config.epochs}",
            loss=f"{loss:.3f} nats/char",
            speed=f"{chars_per_s / 1000:,.1f}k chars/s",
        )

    def on_epoch(self, row: CurveRow, is_best: bool) -> None:
        """Print a line: of every epoch, or of some where there are very many."""
        stride = max(1, self._epochs // LINES)
        if row.epoch % stride and row.epoch != self._epochs:
            return
        held_out = "" if row.validation_nats is None else f"   validation [bold]{row.validation_nats:.4f}[/]"
        mark = "   [green]best[/]" if is_best and held_out else ""
        self._console.print(
            f"epoch {row.epoch:>{len(str(self._epochs))}}/{self._epochs}   "
            f"train {row.train_nats:.4f}{held_out} nats/char   [dim]{row.chars_per_s / 1000:,.1f}k chars/s[/]{mark}"
        )

    def on_measure(self, done: int, total: int) -> None:
        """Move the bar of the final measurement."""
        self._progress.update(
            self._task,
            total=total,
            completed=done,
            description="measuring the held-out text",
            loss="",
            speed="",
        )

    def say_goodbye(self, interrupted: Interrupted, folder: Path) -> None:
        """Say that the run is saved and how to go on."""
        self._progress.stop()
        self._console.print(f"[yellow]{interrupted}[/]: saved in {folder}; the same command with --resume continues it")

    def conclude(self, run: Run, trained: Trained, folder: Path) -> None:
        """Print what came out and what to do with it."""
        self._progress.stop()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        table.add_row("best epoch", f"{trained.epoch} of {run.trainer.config.epochs}")
        table.add_row("training", _losses(trained.train_nats))
        if trained.evaluation is not None:
            measured = trained.evaluation
            characters = f"[dim]{measured.characters:,} characters[/]"
            table.add_row("held out", f"[bold]{_losses(measured.nats_per_char)}[/]  {characters}")
        table.add_row("time", f"{run.curve.seconds:,.1f} s")
        table.add_row("folder", str(folder))
        self._console.print()
        self._console.print(table)
        self._console.print(f"\nNext: [bold]unrolled export {folder} -o BUNDLE[/]", soft_wrap=True)


def _losses(nats: float) -> str:
    return f"{nats:.4f} nats/char  {nats / math.log(2):.4f} bits/char"

"""A training run in its folder: the loop, what it writes and when.

```
checkpoint.pt   everything, to continue from   every `checkpoint_every_s`, at epoch ends, when interrupted
best.pt         the weights to keep            before each checkpoint, when there are better ones
curve.csv/.png  a row an epoch                 with each checkpoint at an epoch's end
```
`best.pt` goes first: a run that is killed between the two files repeats the updates in between and arrives at
the same `best.pt` again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from unrolled_export.checkpoint import restore_checkpoint, write_checkpoint
from unrolled_export.config import to_fields
from unrolled_export.curve import Curve, CurveRow
from unrolled_export.errors import CheckpointError
from unrolled_export.evaluation import Evaluation, evaluate
from unrolled_export.files import write_atomically
from unrolled_export.interruption import Interruption
from unrolled_export.plot import draw_curve
from unrolled_export.trained import FILE_NAME, Trained, read_trained, write_trained
from unrolled_export.training import Trainer

CHECKPOINT = "checkpoint.pt"
SAMPLE = 2**20
SHORTEST_PAUSE_S = 5.0


class Reporter(Protocol):
    """Whoever watches a run."""

    def on_chunk(self, trainer: Trainer, loss: float, chars_per_s: float, /) -> None:
        """Learn of one update."""

    def on_epoch(self, row: CurveRow, is_best: bool) -> None:
        """Learn of a complete epoch."""

    def on_measure(self, done: int, total: int) -> None:
        """Learn of the final measurement: characters predicted so far, and of how many."""


class Run:
    """Train in a folder until done or interrupted."""

    def __init__(self, folder: Path, trainer: Trainer, command: str, checkpoint_every_s: float = 60.0) -> None:
        self.folder = folder
        self.trainer = trainer
        self.command = command
        self.curve = Curve()
        self._every_s = checkpoint_every_s
        self._saved_at = time.monotonic()
        self._pending: Trained | None = None

    def open(self, *, resume: bool) -> None:
        """Make the folder, or continue from the checkpoint that it has.

        Raises:
            CheckpointError: there is a checkpoint and `resume` is false, or it is of another run.
            OSError: the folder cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / CHECKPOINT
        if not file.exists():
            return
        if not resume:
            raise CheckpointError(
                f"{self.folder} already holds a run: continue it with --resume or choose another folder"
            )
        self.curve = restore_checkpoint(file, self.trainer)

    def proceed(self, interruption: Interruption, reporter: Reporter) -> Trained:
        """Train to the end, saving on the way, and measure the best weights exactly.

        Raises:
            Interrupted: a signal came; the run is saved.
            TrainingError: the loss is not finite; the last checkpoint stands.
        """
        trainer = self.trainer
        epoch_started = time.monotonic()
        first_chunk = trainer.progress.chunk
        while not self._is_done:
            started = time.monotonic()
            loss = trainer.advance()
            now = time.monotonic()
            self.curve.seconds += now - started
            chars = (trainer.progress.chunk - first_chunk) * trainer.config.streams * trainer.config.chunk
            chars_per_s = chars / max(now - epoch_started, 1e-9)
            reporter.on_chunk(trainer, loss, chars_per_s)
            if trainer.is_epoch_read:
                self._finish_epoch(reporter, chars_per_s)
                epoch_started, first_chunk = time.monotonic(), 0
            elif interruption.signal_number is not None or now - self._saved_at >= self._every_s:
                self._save()
            if interruption.signal_number is not None:
                self._save()
            interruption.check()
        return self._measure(interruption, reporter)

    @property
    def _is_done(self) -> bool:
        """Tell whether there is no epoch to come: all are read, or it stops early."""
        best, patience = self.curve.best, self.trainer.config.patience
        is_hopeless = best is not None and 0 < patience <= self.trainer.progress.epoch - best.epoch
        return self.trainer.is_done or is_hopeless

    def _finish_epoch(self, reporter: Reporter, chars_per_s: float) -> None:
        trainer = self.trainer
        before = self.curve.best
        train, measured = trainer.finish_epoch()
        row = CurveRow(
            epoch=trainer.progress.epoch,
            step=trainer.step,
            train_nats=train,
            validation_nats=None if measured is None else measured.nats_per_char,
            learning_rate=trainer.rate,
            chars_per_s=chars_per_s,
        )
        self.curve.rows.append(row)
        is_best = before is None or row.judged < before.judged
        if is_best:
            self._pending = self._describe(row, measured)
        reporter.on_epoch(row, is_best)
        if self._is_done or time.monotonic() - self._saved_at >= SHORTEST_PAUSE_S:
            self._draw()
            self._save()

    def _describe(self, row: CurveRow, measured: Evaluation | None) -> Trained:
        trainer, corpus = self.trainer, self.trainer.corpus
        held_out = len(corpus.validation)
        share = (
            f"the last {trainer.config.validation * 100:.3g} % of {corpus.name}"
            if held_out
            else f"{corpus.name} (training text)"
        )
        return Trained(
            model=trainer.model.config,
            vocabulary=corpus.vocabulary,
            weights={name: weight.detach().clone() for name, weight in trainer.weights().items()},
            evaluation=measured,
            dataset=share,
            command=self.command,
            settings=to_fields(trainer.config),
            epoch=row.epoch,
            train_nats=row.train_nats,
            sample=corpus.validation[:SAMPLE].clone() if held_out else corpus.training[:1].clone(),
        )

    def _save(self) -> None:
        if self._pending is not None:
            write_trained(self.folder / FILE_NAME, self._pending)
            self._pending = None
        write_checkpoint(self.folder / CHECKPOINT, self.trainer, self.curve)
        self._saved_at = time.monotonic()

    def _draw(self) -> None:
        config = self.trainer.model.config
        title = f"{self.trainer.corpus.name}: {config.cell} {config.layers} x {config.hidden}"
        write_atomically(self.folder / "curve.csv", self.curve.to_csv().encode())
        write_atomically(self.folder / "curve.png", draw_curve(self.curve, title))

    def _measure(self, interruption: Interruption, reporter: Reporter) -> Trained:
        file = self.folder / FILE_NAME
        trained = read_trained(file)
        held_out = self.trainer.corpus.validation
        if trained.evaluation is None or trained.evaluation.streams == 1:
            return trained

        def watch(done: int) -> None:
            interruption.check()
            reporter.on_measure(done, len(held_out) - 1)

        trained = replace(trained, evaluation=evaluate(trained.build(), held_out, on_chunk=watch))
        write_trained(file, trained)
        return trained

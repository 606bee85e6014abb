"""Writes a stream of text to standard output while it arrives."""

import os
import sys
import time
from collections.abc import Iterable

import click

from unrolled_client.values import Finish

SIGPIPE_STATUS = 141


class Terminal:
    """Standard output and what a person wants to know about the text on it.

    Attributes:
        is_interactive: a person reads it, not a program.
    """

    def __init__(self) -> None:
        self.is_interactive = sys.stdout.isatty()
        self._begin_s = time.perf_counter()
        self._first_s: float | None = None
        self._end_s = self._begin_s
        self._count = 0
        self._unit = "character"
        self._is_mid_line = False

    def echo(self, prompt: str) -> None:
        """Write the prompt, dim where a person reads it."""
        self._is_mid_line = bool(prompt)
        click.secho(prompt, dim=True, nl=False)
        sys.stdout.flush()

    def write(self, pieces: Iterable[str]) -> None:
        """Write every piece as it arrives."""
        for piece in pieces:
            self.note(len(piece))
            self._is_mid_line = not piece.endswith("\n")
            sys.stdout.write(piece)
            sys.stdout.flush()

    def note(self, count: int, unit: str = "character") -> None:
        """Count characters, or another unit, that have arrived now."""
        self._unit = unit
        self._end_s = time.perf_counter()
        self._first_s = self._first_s or self._end_s
        self._count += count

    def end_line(self) -> None:
        """Leave the cursor at the start of a line where a person reads."""
        if self.is_interactive and self._is_mid_line:
            click.echo()
            self._is_mid_line = False

    def summarize(self, finish: Finish | None) -> None:
        """Write a line about a finished generation to stderr where a person reads."""
        if not self.is_interactive or finish is None or self._first_s is None:
            return
        elapsed_s = max(self._end_s - self._begin_s, 1e-9)
        parts = (
            f"{finish.generated_tokens} {'tokens' if self._unit == 'character' else f'{self._unit}s'}",
            f"seed {finish.seed}",
            f"{self._count / elapsed_s:,.0f} {'chars' if self._unit == 'character' else f'{self._unit}s'}/s",
            f"first {self._unit} after {(self._first_s - self._begin_s) * 1e3:.0f} ms",
        )
        click.secho(" · ".join(parts), dim=True, err=True)

    def note_resumes(self, count: int) -> None:
        """Write to stderr how often the generation broke and went on, where it did."""
        if count:
            click.secho(f"resumed {count} time{'s' if count > 1 else ''}", dim=True, err=True)


def abandon_output() -> int:
    """Make the flush at exit harmless once nobody reads standard output; return the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return SIGPIPE_STATUS

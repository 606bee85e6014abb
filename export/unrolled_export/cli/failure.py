"""Errors of this package as one line on the console and a non-zero exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from unrolled_export.errors import ExportError


@contextmanager
def failures_told() -> Iterator[None]:
    """Turn a mistake of the caller's into click's message; anything else is a defect and keeps its trace.

    Raises:
        click.ClickException: an `ExportError` or `OSError` came out of the block.
    """
    try:
        yield
    except ExportError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{place}{error.strerror or error}") from error

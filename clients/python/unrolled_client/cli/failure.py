"""A failure of a verb that is not a defect."""

from typing import IO, Any

import click


class Failure(click.ClickException):
    """A one-line error on stderr and exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002
        """Print the line."""
        click.echo(f"error: {' '.join(self.message.split())}", err=True)

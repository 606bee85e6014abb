"""A client for a verb: whatever fails becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from unrolled_client.cli.advice import explain
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.place import Place
from unrolled_client.cli.terminal import Terminal, abandon_output
from unrolled_client.client import Client
from unrolled_client.errors import UnrolledError

INTERRUPTED_STATUS = 130


@contextmanager
def connected(server: Place) -> Iterator[Client]:
    """Connect for a `with` block that asks once.

    Raises:
        click.ClickException: a call of the block failed, or a number does not fit its wire type.
    """
    try:
        with server.client() as client:
            yield client
    except UnrolledError as error:
        raise explain(error, server) from error
    except ValueError as error:
        raise Failure(str(error)) from error


@contextmanager
def streaming(server: Place, terminal: Terminal) -> Iterator[Client]:
    """Connect for a `with` block that writes while answers arrive; at its end the cursor is at the start of a line.

    Raises:
        click.ClickException: as of `connected`.
        SystemExit: the user interrupted it, or nobody reads the output any more.
    """
    try:
        with connected(server) as client:
            yield client
    except click.ClickException:
        terminal.end_line()
        raise
    except KeyboardInterrupt:
        click.echo()
        raise SystemExit(INTERRUPTED_STATUS) from None
    except BrokenPipeError:
        raise SystemExit(abandon_output()) from None
    terminal.end_line()

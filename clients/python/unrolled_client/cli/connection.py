"""A client for a verb that asks once: whatever fails becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from unrolled_client.cli.advice import explain
from unrolled_client.cli.failure import Failure
from unrolled_client.client import Client
from unrolled_client.errors import UnrolledError


@contextmanager
def connected(server: str) -> Iterator[Client]:
    """Connect for a `with` block.

    Raises:
        click.ClickException: a call of the block failed, or a number does not fit its wire type.
    """
    try:
        with Client(server) as client:
            yield client
    except UnrolledError as error:
        raise explain(error, server) from error
    except ValueError as error:
        raise Failure(str(error)) from error

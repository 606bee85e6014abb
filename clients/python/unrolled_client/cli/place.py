"""The server that a verb asks, and what is shown to it."""

from dataclasses import dataclass, field
from pathlib import Path

import click

from unrolled_client.async_client import AsyncClient
from unrolled_client.client import Client
from unrolled_client.credentials import Tls


@dataclass(frozen=True, slots=True)
class Place:
    """A server.

    Attributes:
        target: its address.
        tls: how to talk TLS; None talks in clear text.
        token: bearer token; None takes that of the environment, if there is one.
    """

    target: str
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.target

    def client(self) -> Client:
        """Return a client for it.

        Raises:
            ValueError: the token would travel to another machine in clear text.
        """
        return Client(self.target, credentials=self.tls, token=self.token)

    def async_client(self) -> AsyncClient:
        """Return a client for it, for one event loop; raises what `client` does."""
        return AsyncClient(self.target, credentials=self.tls, token=self.token)


def to_place(
    target: str, *, tls: bool, ca: Path | None, cert: Path | None, key: Path | None, token: Path | None
) -> Place:
    """Read the files that the options name.

    Raises:
        click.BadParameter: one cannot be read, or there is a certificate without its key.
    """
    is_tls = tls or any((ca, cert, key))
    try:
        shown = token.read_text().strip() if token else None
        return Place(target, Tls.read(ca=ca, cert=cert, key=key) if is_tls else None, shown)
    except OSError as error:
        hint = "; the token itself belongs into UNROLLED_TOKEN" if str(token) == error.filename else ""
        raise click.BadParameter(f"{error.filename}: {error.strerror}{hint}") from None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None

"""``unrolled token``: makes a token, and the line that lets its bearer in."""

import os
from pathlib import Path

import click

from unrolled_service.callers.identity import MAX_TENANT_LENGTH, Identity, Scope, is_tenant
from unrolled_service.callers.tokens import Grant, digest_of, make_token

_PRIVATE = 0o600


@click.command()
@click.argument("tenant")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="What it is good for; may be repeated. Default: generate and session.",
)
@click.option(
    "--append",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the line to this file; write the token alone.",
)
def token(tenant: str, scopes: tuple[str, ...], append: Path | None) -> None:
    """Make a token for TENANT: write it, then its line for the file that `unrolled serve --auth-tokens` reads.

    The token is nowhere else: give it to its bearer, and keep the line.
    """
    if not is_tenant(tenant):
        raise click.BadParameter(f"a tenant is 1 to {MAX_TENANT_LENGTH} printable ASCII characters without spaces")
    made = make_token()
    granted = frozenset(map(Scope, scopes)) or frozenset({Scope.GENERATE, Scope.SESSION})
    line = str(Grant(digest_of(made), Identity(tenant, granted)))
    if append is None:
        click.echo(f"{made}\n{line}")
        return
    try:
        with os.fdopen(os.open(append, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE), "w") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise click.ClickException(f"{append}: {error.strerror}") from None
    click.echo(made)

"""Options and their types that several verbs share."""

import click

from unrolled_client.channel import DEFAULT_TARGET, TARGET_VARIABLE

SEED = click.IntRange(0, 2**64 - 1)

server = click.option(
    "--server",
    metavar="HOST:PORT",
    default=DEFAULT_TARGET,
    envvar=TARGET_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)

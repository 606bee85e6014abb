"""Options that every verb which calls a server has."""

import click

from unrolled_client.channel import DEFAULT_TARGET, TARGET_VARIABLE

server = click.option(
    "--server",
    metavar="HOST:PORT",
    default=DEFAULT_TARGET,
    envvar=TARGET_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)

"""`unrolled sessions`: a table of the caller's sessions."""

from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table

from unrolled_client.cli import options
from unrolled_client.cli.connection import connected
from unrolled_client.cli.place import Place
from unrolled_client.values import SessionInfo

WIDEST = 10_000


@click.command()
@options.server
def sessions(server: Place) -> None:
    """List the sessions on a server, oldest first."""
    with connected(server) as client:
        found = tuple(client.list_sessions())
    console, table = Console(), table_of(found)
    # An id is there to be copied: rather than shorten it, let a narrow terminal wrap the lines.
    console.width = max(console.width, console.measure(table, options=console.options.update(width=WIDEST)).maximum)
    console.print(table)


def table_of(found: Iterable[SessionInfo]) -> Table:
    """Lay out one row a session."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("id", "model", "tier", "state", "expires"):
        table.add_column(header)
    for header in ("position", "rewindable from", "seed"):
        table.add_column(header, justify="right")
    for info in found:
        table.add_row(
            info.id,
            info.model,
            info.tier,
            "busy" if info.is_busy else "idle",
            f"{info.expire_time.astimezone():%Y-%m-%d %H:%M:%S}",
            f"{info.position:,}",
            f"{info.rewindable_from:,}",
            str(info.seed),
        )
    return table

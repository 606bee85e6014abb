"""`unrolled admin`: the verbs of operators, on the server's admin listener."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.table import Table

from unrolled_client.admin import ADMIN_VARIABLE, DEFAULT_ADMIN_TARGET, AdminClient
from unrolled_client.cli import options
from unrolled_client.cli.advice import explain
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.place import Place
from unrolled_client.errors import PermissionDenied, Unauthenticated, Unreachable, UnrolledError
from unrolled_client.operation import ServerStats

SHORT_SHA256 = 12

server = options.placed(
    click.option(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_ADMIN_TARGET,
        envvar=ADMIN_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Address of the admin listener.",
    )
)
sha256 = click.option("--sha256", default="", metavar="HEX", help="Identity that the bundle must have.")


@click.group()
def admin() -> None:
    """Change what a running server serves."""


@admin.command()
@click.argument("bundle")
@sha256
@options.timeout
@server
def load(bundle: str, sha256: str, timeout: float | None, server: Place) -> None:
    """Serve BUNDLE: a path below the server's bundles folder, or a shipped name."""
    with connected(server) as client:
        loaded = client.load(bundle, sha256=sha256, timeout=timeout)
    model = loaded.model
    did = "serving" if loaded.is_new else "serving already"
    click.echo(f"{did} {model.name} ({model.precision}, {model.sha256[:SHORT_SHA256]})")


@admin.command()
@click.argument("model")
@sha256
@click.option("--grace", type=click.FloatRange(0), metavar="SECONDS", help="How long its streams may go on.")
@options.timeout
@server
def unload(model: str, sha256: str, grace: float | None, timeout: float | None, server: Place) -> None:
    """Serve MODEL no more; wait for its streams, and end its sessions."""
    with connected(server) as client:
        gone = client.unload(model, sha256=sha256, grace_s=grace, timeout=timeout)
    click.echo(f"unloaded {model}: {gone.streams_ended} streams and {gone.sessions_ended} sessions ended")
    if not gone.is_gone:
        click.echo("a stream whose caller takes no news keeps its memory until it ends", err=True)


@admin.command()
@server
def drain(server: Place) -> None:
    """Let the server finish what runs, and end."""
    with connected(server) as client:
        streams = client.drain()
    click.echo(f"draining; {streams} streams still run")


@admin.command()
@server
def stats(server: Place) -> None:
    """Show what the server holds of each bundle."""
    with connected(server) as client:
        found = client.stats()
    Console().print(table_of(found))
    state = "draining" if found.is_draining else "serving"
    click.secho(f"unrolled {found.version}, {state}, up {found.uptime_s:,.0f} s", dim=True, err=True)


def table_of(found: ServerStats) -> Table:
    """Lay out one row a bundle."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("name", "sha256", "form", "state"):
        table.add_column(header)
    for header in ("streams", "waiting", "sessions", "state KiB"):
        table.add_column(header, justify="right")
    for model in found.models:
        table.add_row(
            model.name,
            model.sha256[:SHORT_SHA256],
            model.precision,
            "served" if model.is_served else "kept",
            f"{model.streams:,}",
            f"{model.streams_waiting:,}",
            f"{model.sessions:,}",
            f"{model.state_bytes / 1024:,.0f}",
        )
    return table


@contextmanager
def connected(server: Place) -> Iterator[AdminClient]:
    """Connect for a `with` block that asks once.

    Raises:
        click.ClickException: the call failed.
    """
    try:
        with server.admin_client() as client:
            yield client
    except Unreachable as error:
        raise Failure(
            f"no admin listener answers at {server} ({error.message}); serve with --admin-listen HOST:PORT"
        ) from error
    except (Unauthenticated, PermissionDenied) as error:
        raise explain(error, server) from error
    except UnrolledError as error:
        raise Failure(error.message) from error
    except ValueError as error:
        raise Failure(str(error)) from error

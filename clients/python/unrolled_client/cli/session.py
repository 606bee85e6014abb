"""The verbs that act on one session. What a script may want to use next goes to standard output, alone."""

from typing import BinaryIO

import click

from unrolled_client.cli import options
from unrolled_client.cli.connection import connected
from unrolled_client.cli.place import Place

MAX_FORKS = 64


@click.command()
@click.argument("session_id", metavar="ID")
@click.option("-n", "count", type=click.IntRange(1, MAX_FORKS), help="How many. Default: one, or one for each seed.")
@click.option("--seed", "seeds", type=options.SEED, multiple=True, help="A copy's seed; give one for each.")
@options.server
def fork(session_id: str, count: int | None, seeds: tuple[int, ...], server: Place) -> None:
    """Make sessions that begin where session ID is, and write their ids."""
    with connected(server) as client:
        forks = client.open_session(session_id).fork(count, seeds=seeds or None)
    for each in forks:
        click.echo(each.id)


@click.command()
@click.argument("session_id", metavar="ID")
@click.argument("position", type=click.IntRange(0))
@click.option("--preempt", is_flag=True, help="Stop a stream that runs on it.")
@options.server
def rewind(session_id: str, position: int, preempt: bool, server: Place) -> None:
    """Take session ID back to POSITION; what came after is forgotten."""
    with connected(server) as client:
        info = client.open_session(session_id).rewind(position, preempt=preempt)
    click.secho(f"{info.id} is at position {info.position:,}", dim=True, err=True)


@click.command()
@click.argument("session_id", metavar="ID")
@click.option("-o", "--output", type=click.File("wb", lazy=True), required=True, help="File to write; - for stdout.")
@options.server
def snapshot(session_id: str, output: BinaryIO, server: Place) -> None:
    """Write session ID as portable bytes; the session stays."""
    with connected(server) as client:
        blob = client.open_session(session_id).snapshot()
    output.write(blob)
    click.secho(f"{len(blob):,} bytes", dim=True, err=True)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--seed", type=options.SEED, help="Seed of its draws. Default: that of the snapshot.")
@click.option("--ttl", type=click.FloatRange(1), metavar="SECONDS", help="Idle time after which it expires.")
@click.option("--accept-other-numerics", is_flag=True, help="Also from a machine that rounds differently.")
@options.server
def restore(file: BinaryIO, seed: int | None, ttl: float | None, accept_other_numerics: bool, server: Place) -> None:
    """Make a session of a snapshot in FILE (- for stdin), and write its id."""
    with connected(server) as client:
        restored = client.restore(file.read(), seed=seed, ttl_s=ttl, accept_other_numerics=accept_other_numerics)
    click.echo(restored.id)

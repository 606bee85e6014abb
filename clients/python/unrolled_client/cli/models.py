"""`unrolled models`: a table of what a server serves."""

import click
from rich.console import Console
from rich.table import Table

from unrolled_client.cli import options
from unrolled_client.cli.advice import explain
from unrolled_client.client import Client
from unrolled_client.errors import UnrolledError
from unrolled_client.models import ModelInfo

SHORT_SHA256 = 12


@click.command()
@options.server
def models(server: str) -> None:
    """List the bundles that a server serves."""
    try:
        with Client(server) as client:
            served = client.models()
    except UnrolledError as error:
        raise explain(error, server) from error
    Console().print(table_of(served))


def table_of(served: tuple[ModelInfo, ...]) -> Table:
    """Lay out one row a bundle."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("name", "cell", "size", "parameters", "vocabulary", "nats/char", "sha256"):
        table.add_column(header, justify="left" if header in ("name", "cell", "sha256") else "right")
    for model in served:
        table.add_row(
            model.name,
            model.cell,
            f"{model.layers}x{model.hidden_size}",
            f"{model.parameters:,}",
            f"{len(model.vocabulary)}",
            "-" if model.nats_per_char is None else f"{model.nats_per_char:.3f}",
            model.sha256[:SHORT_SHA256],
        )
    return table

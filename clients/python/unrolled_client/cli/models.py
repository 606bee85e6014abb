"""`unrolled models`: a table of what a server serves."""

import click
from rich.console import Console
from rich.table import Table

from unrolled_client.cli import options
from unrolled_client.cli.connection import connected
from unrolled_client.cli.place import Place
from unrolled_client.models import ModelInfo, Port

SHORT_SHA256 = 12


@click.command()
@options.server
def models(server: Place) -> None:
    """List the bundles that a server serves."""
    with connected(server) as client:
        served = client.models()
    Console().print(table_of(served))


def table_of(served: tuple[ModelInfo, ...]) -> Table:
    """Lay out one row a bundle."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("name", "task", "takes", "gives", "cell", "parameters", "figure", "sha256"):
        table.add_column(header, justify="right" if header in ("parameters", "figure") else "left")
    for model in served:
        table.add_row(
            model.name,
            model.task,
            describe(model.condition or model.source or model.input),
            describe(model.output) + (f", {model.length} times" if model.length else ""),
            f"{model.cell} {model.layers}x{model.hidden_size}",
            f"{model.parameters:,}",
            figure_of(model),
            model.sha256[:SHORT_SHA256],
        )
    return table


def describe(port: Port) -> str:
    """Say what a bundle takes or gives, for instance "10 labels"."""
    return f"vector of {port.width}" if port.kind == "vector" else f"{port.width} {port.kind}s"


def figure_of(model: ModelInfo) -> str:
    """Say the figure that a bundle is judged by."""
    if model.nats_per_char is not None:
        return f"{model.nats_per_char:.3f} nats/char"
    return next((f"{figure.name} {figure.value:.3f}" for figure in model.figures), "-")
